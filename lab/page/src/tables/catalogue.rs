//! Which tables there are, which columns of them are shown, and where they are read.

use serde::Serialize;

pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
    pub(super) source: Source,
}

/// What a column holds: how the page shows it.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Id,
    Text,
    Amount,
    Number,
    Time,
    Json,
}

#[derive(Clone, Copy)]
pub(super) enum Source {
    /// The columns that are selected and from where, the column that rows are in the order of, and its type.
    Wallet(&'static str, &'static str, Key),
    Bills(&'static str, &'static str, Key),
    Provider,
    /// The topic without its prefix.
    Topic(&'static str),
}

/// The type of the column that rows are in the order of.
#[derive(Clone, Copy)]
pub(super) enum Key {
    Uuid,
    Bigint,
    Text,
}

use Key::{Bigint, Text as TextKey, Uuid};
use Kind::{Amount, Id, Json as Object, Number, Text as Words, Time};
use Source::{Bills, Provider, Topic, Wallet};

const OUTBOX: &str = "seq, id, type, aggregateid, payload, created_at from outbox";
const OUTBOX_COLUMNS: &[(&str, Kind)] = &[
    ("seq", Number),
    ("id", Id),
    ("type", Words),
    ("aggregateid", Id),
    ("payload", Object),
    ("created_at", Time),
];
const INBOX: &str = "consumer, event_id, seen_at from inbox";
const INBOX_COLUMNS: &[(&str, Kind)] = &[("consumer", Words), ("event_id", Id), ("seen_at", Time)];
const DEAD_LETTERS: &str = "id, status, topic, kafka_partition, kafka_offset, encode(key, 'escape') as key, reason, \
     encode(payload, 'escape') as payload, headers, created_at from dead_letters";
const DEAD_LETTER_COLUMNS: &[(&str, Kind)] = &[
    ("id", Number),
    ("status", Words),
    ("topic", Words),
    ("kafka_partition", Number),
    ("kafka_offset", Number),
    ("key", Id),
    ("reason", Words),
    ("payload", Words),
    ("headers", Object),
    ("created_at", Time),
];
const PARKED: &str =
    "aggregateid, seq, reason, tries, parked_at, replay_requested_at from parked_events";
const PARKED_COLUMNS: &[(&str, Kind)] = &[
    ("aggregateid", Id),
    ("seq", Number),
    ("reason", Words),
    ("tries", Number),
    ("parked_at", Time),
    ("replay_requested_at", Time),
];
const MESSAGE_COLUMNS: &[(&str, Kind)] = &[
    ("at", Time),
    ("partition", Number),
    ("offset", Number),
    ("key", Id),
    ("payment_id", Id),
    ("type", Words),
    ("headers", Object),
    ("payload", Object),
];

/// In the order of the page.
pub(super) static TABLES: [Table; 16] = [
    Table {
        name: "wallets",
        title: "Wallets",
        about: "The balance is a cache of the ledger, changed in the same transaction.",
        columns: &[
            ("id", Id),
            ("balance", Amount),
            ("currency", Words),
            ("version", Number),
            ("created_at", Time),
        ],
        source: Wallet(
            "id, trim_scale(balance)::text as balance, currency, version, created_at from wallets",
            "id",
            Uuid,
        ),
    },
    Table {
        name: "payments",
        title: "Payments",
        about: "What customers asked for, and how it ended.",
        columns: &[
            ("payment_id", Id),
            ("wallet_id", Id),
            ("amount", Amount),
            ("currency", Words),
            ("status", Words),
            ("pattern", Words),
            ("receipt", Words),
            ("reason", Words),
            ("created_at", Time),
            ("updated_at", Time),
        ],
        source: Wallet(
            "id as payment_id, wallet_id, trim_scale(amount)::text as amount, currency, status, \
             coalesce(pattern, 'outbox') as pattern, receipt, reason, created_at, updated_at from payments",
            "id",
            Uuid,
        ),
    },
    Table {
        name: "transfers",
        title: "Transfers",
        about: "The ledger: double entry, append-only.",
        columns: &[
            ("id", Id),
            ("kind", Words),
            ("debit_account", Id),
            ("credit_account", Id),
            ("amount", Amount),
            ("payment_id", Id),
            ("created_at", Time),
        ],
        source: Wallet(
            "id, kind, debit_account, credit_account, trim_scale(amount)::text as amount, payment_id, created_at \
             from transfers",
            "id",
            Uuid,
        ),
    },
    Table {
        name: "outbox",
        title: "Outbox of the wallet",
        about: "A row is an event that is not yet known to be published.",
        columns: OUTBOX_COLUMNS,
        source: Wallet(OUTBOX, "seq", Bigint),
    },
    Table {
        name: "parked",
        title: "Parked events of the wallet",
        about: "Events that Kafka refuses for good; their keys wait behind them.",
        columns: PARKED_COLUMNS,
        source: Wallet(PARKED, "aggregateid", TextKey),
    },
    Table {
        name: "inbox",
        title: "Inbox of the wallet",
        about: "Results that were taken: a redelivery finds its row and does nothing.",
        columns: INBOX_COLUMNS,
        source: Wallet(INBOX, "event_id", Uuid),
    },
    Table {
        name: "dead-letters",
        title: "Dead letters of the wallet",
        about: "Messages that could not be taken, with their bytes; an operator decides.",
        columns: DEAD_LETTER_COLUMNS,
        source: Wallet(DEAD_LETTERS, "id", Bigint),
    },
    Table {
        name: "wallet-events",
        title: "Kafka: wallet.events",
        about: "What the relays of the wallet have published.",
        columns: MESSAGE_COLUMNS,
        source: Topic("wallet.events"),
    },
    Table {
        name: "bills",
        title: "Bills",
        about: "What the bill payer was asked to pay, and how far it is.",
        columns: &[
            ("payment_id", Id),
            ("wallet_id", Id),
            ("amount", Amount),
            ("currency", Words),
            ("status", Words),
            ("attempts", Number),
            ("receipt", Words),
            ("last_error", Words),
            ("created_at", Time),
            ("updated_at", Time),
        ],
        source: Bills(
            "payment_id, wallet_id, trim_scale(amount)::text as amount, currency, status, attempts, receipt, \
             last_error, created_at, updated_at from bills",
            "payment_id",
            Uuid,
        ),
    },
    Table {
        name: "provider-payments",
        title: "The provider's payments",
        about: "What the provider has received: each payment once, however often it was asked.",
        columns: &[
            ("payment_id", Id),
            ("status", Words),
            ("amount", Amount),
            ("currency", Words),
            ("account_number", Words),
            ("receipt", Words),
            ("calls", Number),
        ],
        source: Provider,
    },
    Table {
        name: "bill-outbox",
        title: "Outbox of the bill payer",
        about: "Results that are not yet known to be published.",
        columns: OUTBOX_COLUMNS,
        source: Bills(OUTBOX, "seq", Bigint),
    },
    Table {
        name: "bill-parked",
        title: "Parked events of the bill payer",
        about: "Results that Kafka refuses for good.",
        columns: PARKED_COLUMNS,
        source: Bills(PARKED, "aggregateid", TextKey),
    },
    Table {
        name: "bill-inbox",
        title: "Inbox of the bill payer",
        about: "Empty on purpose: a bill's own row is what a redelivery finds.",
        columns: INBOX_COLUMNS,
        source: Bills(INBOX, "event_id", Uuid),
    },
    Table {
        name: "bill-dead-letters",
        title: "Dead letters of the bill payer",
        about: "Messages that could not be taken, with their bytes; an operator decides.",
        columns: DEAD_LETTER_COLUMNS,
        source: Bills(DEAD_LETTERS, "id", Bigint),
    },
    Table {
        name: "bill-events",
        title: "Kafka: bill.events",
        about: "What the relay of the bill payer has published.",
        columns: MESSAGE_COLUMNS,
        source: Topic("bill.events"),
    },
    Table {
        name: "wallet-commands",
        title: "Kafka: wallet.commands",
        about: "Payments that were accepted before the wallet was asked, by listen-to-yourself.",
        columns: MESSAGE_COLUMNS,
        source: Topic("wallet.commands"),
    },
];
