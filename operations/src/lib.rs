//! What operators work with: dead letters, a record of what was done by hand, and housekeeping.
//!
//! | module | what it has |
//! | --- | --- |
//! | [`dead_letters`] | retry and discard, by HTTP and at the command line; the trait a consumer implements |
//! | [`dead_letter`] | the table |
//! | [`operator`] | who does something by hand, checked; the list of what was done |
//! | [`operator_action`] | its table, to which rows are only added |
//! | [`gauges`] | the pool, and the age of the oldest event |
//! | [`housekeeping`] | the loop that deletes what is older than its retention |
//! | [`sweep`] | the deletes, in bounded batches |

pub mod dead_letter;
pub mod dead_letters;
pub mod gauges;
pub mod housekeeping;
pub mod operator;
pub mod operator_action;
mod schema;
pub mod sweep;

/// What the metrics of this crate mean.
pub const METRICS: &[chassis::metrics::Help] = &[
    (
        "database_pool_connections",
        "Connections of the pool to the database, by what they do",
    ),
    (
        "database_pool_waiting",
        "Who waits for a connection of the pool",
    ),
    (
        "dead_letters_oldest_age_seconds",
        "Age of the oldest dead letter that is open",
    ),
    (
        "dead_letters_open",
        "Dead letters that nobody has dealt with",
    ),
    (
        "dead_letters_retried_total",
        "Dead letters that were tried again, by what came of it",
    ),
    (
        "housekeeping_deleted_total",
        "Rows that the housekeeping deleted, by table",
    ),
    (
        "outbox_oldest_age_seconds",
        "Age of the oldest row of the outbox, as the service sees it; zero without one",
    ),
    (
        "retention_too_short",
        "1 if Kafka keeps the topic for longer than the service remembers its messages",
    ),
];

/// Creates the tables of dead letters and operator actions; to be run after [`outbox::MIGRATIONS`].
pub const MIGRATIONS: diesel_migrations::EmbeddedMigrations =
    diesel_migrations::embed_migrations!("migrations");
