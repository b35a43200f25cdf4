//! What commands and reads cost, counted in rows: flat where it must not grow, bounded where it
//! may.

#![allow(clippy::expect_used, reason = "memory can be read")]

mod hand_over;
mod limits;
mod present;
mod rows;
mod sweep;
mod world;
