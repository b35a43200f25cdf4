//! Generates messages, clients and servers from `proto/`. The descriptor set is kept for
//! reflection.

use std::path::PathBuf;

const FILES: [&str; 10] = [
    "etcd/kv.proto",
    "etcd/auth.proto",
    "etcd/rpc.proto",
    "etcd/v3lock.proto",
    "etcd/v3election.proto",
    "conclave/v1/common.proto",
    "conclave/v1/election.proto",
    "conclave/v1/lock.proto",
    "conclave/v1/claim.proto",
    "conclave/v1/cluster.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Asked for when it runs: one target folder serves more than one checkout.
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    // Cargo watches only the files of this package by itself.
    println!("cargo:rerun-if-changed=../../proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let files: Vec<PathBuf> = FILES.iter().map(|file| root.join(file)).collect();
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::codec::SmallCodec")
        .file_descriptor_set_path(out.join("conclave.bin"))
        .compile_protos(&files, &[root])?;
    Ok(())
}
