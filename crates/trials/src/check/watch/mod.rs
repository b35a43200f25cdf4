//! Watches, as clients saw them: etcd's guarantees one by one.

pub(super) mod atomic;
pub(super) mod bookmarkable;
pub(super) mod ordered;
pub(super) mod reliable;
pub(super) mod resumable;
mod stream;
pub(super) mod unique;
