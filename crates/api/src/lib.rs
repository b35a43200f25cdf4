//! The public wire: generated messages, clients and servers of the packages in `proto/`. Nothing
//! here is written by hand but the codec.

pub mod codec;

/// Every file of the wire, encoded as a `FileDescriptorSet`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("conclave");

macro_rules! package {
    ($(#[$doc:meta])* $name:ident = $package:tt) => {
        $(#[$doc])*
        #[allow(clippy::all, clippy::pedantic, clippy::nursery, clippy::unwrap_used, clippy::too_many_lines)]
        #[allow(missing_docs, unreachable_pub, elided_lifetimes_in_paths, rustdoc::all)]
        pub mod $name {
            tonic::include_proto!($package);
        }
    };
}

package! {
    /// Keys and events.
    mvccpb = "mvccpb"
}
package! {
    /// Users, roles, permissions.
    authpb = "authpb"
}
package! {
    /// etcd's services and their messages.
    etcdserverpb = "etcdserverpb"
}
package! {
    /// etcd's lock service.
    v3lockpb = "v3lockpb"
}
package! {
    /// etcd's election service.
    v3electionpb = "v3electionpb"
}

/// Conclave's own packages, beside etcd's.
pub mod conclave {
    package! {
        /// Elections, locks, claims and their sessions.
        v1 = "conclave.v1"
    }
}
