//! Generates the peer protocol. The public protocols are generated in `conclave-api`.

fn main() -> std::io::Result<()> {
    let root = "../../proto";
    // Cargo watches only the files of this package by itself.
    println!("cargo:rerun-if-changed={root}");
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("conclave_api::codec::SmallCodec")
        .compile_protos(&[format!("{root}/conclave/peer/v1/peer.proto")], &[root.to_owned()])
}
