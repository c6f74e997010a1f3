//! The proof of the protocol: the production state machines, tried in every order of events.

mod controls;
mod explore;
mod handover;
mod hash;
mod node;
mod peers;
mod plan;
mod promises;
mod safety;
mod simulation;
mod traces;
mod world;
