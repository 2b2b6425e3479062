//! The relay's behaviour: real processes, on a real PostgreSQL and the real broker.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests: a panic is the failure"
)]

mod cdc;
mod cdc_log;
mod cdc_memory;
mod cdc_network;
mod cdc_outage;
mod cdc_publication;
mod cdc_server;
mod cdc_slot;
mod cdc_stream;
mod cdc_visibility;
mod connecting;
mod crash;
mod debezium;
mod doctor;
mod epoch;
mod failover;
mod fair_share;
mod identical;
mod modes;
mod order;
mod outage;
mod parked;
mod pgoutput;
mod plans;
mod pooler;
mod publishing;
mod refused;
mod sharing;
mod slot;
mod standby;
mod stop;
mod switching;
mod test_outbox;
mod tls;
mod topics;
mod undeleted;
