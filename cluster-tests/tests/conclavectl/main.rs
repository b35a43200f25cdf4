//! `conclavectl` against three nodes.

mod commands;
mod coordination;
mod etcdctl;
mod following;
mod holders;
mod kit;
mod mirror;
mod surface;
