//! What operators work with: dead letters, a record of what was done by hand, and housekeeping.
//!
//! | module | what it has |
//! | --- | --- |
//! | [`dead_letters`] | retry and discard, by HTTP and at the command line; the trait a consumer implements |
//! | [`dead_letter`] | the table |
//! | [`operator`] | who does something by hand, checked; the list of what was done |
//! | [`operator_action`] | its table, to which rows are only added |
//! | [`housekeeping`] | the loop that deletes what is older than its retention |
//! | [`sweep`] | the deletes, in bounded batches |

pub mod dead_letter;
pub mod dead_letters;
pub mod housekeeping;
pub mod operator;
pub mod operator_action;
mod schema;
pub mod sweep;

/// Creates the tables of dead letters and operator actions; to be run after [`outbox::MIGRATIONS`].
pub const MIGRATIONS: diesel_migrations::EmbeddedMigrations =
    diesel_migrations::embed_migrations!("migrations");
