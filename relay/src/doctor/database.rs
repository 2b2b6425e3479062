//! The database: what it is asked, and the list of its checks.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use diesel::QueryableByName;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use outbox::statement;

use super::finding::Finding;
use crate::config::Config;
use crate::relay_mode::RelayMode;
use crate::slot;

/// The major versions on which the relay's tests run.
const VERSIONS: std::ops::RangeInclusive<i32> = 15..=18;

/// The columns that the relay reads, with their types.
const COLUMNS: [&str; 13] = [
    "seq bigint",
    "id uuid",
    "aggregatetype text",
    "aggregateid text",
    "type text",
    "source text",
    "specversion text",
    "contenttype text",
    "traceparent text",
    "tracestate text",
    "payload jsonb",
    "created_at timestamp with time zone",
    "shard smallint",
];

/// A clock that differs by more makes the times of traces useless.
const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_secs(5);

/// Kafka refuses a record whose time is further ahead (`message.timestamp.after.max.ms`).
const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(3_600);

#[derive(Debug, Clone)]
pub(super) struct Facts {
    server: Server,
    /// `None`: there is no table `outbox`.
    table: Option<Table>,
    /// `None`: the mode has none, or the server is a standby.
    replication: Option<Replication>,
    /// How far the database's clock is from this machine's.
    clock_difference: Duration,
}

impl Facts {
    /// The topics of the oldest events, without their prefix.
    pub(super) fn topics(&self) -> Vec<String> {
        self.table
            .as_ref()
            .map(|table| table.topics.clone())
            .unwrap_or_default()
    }
}

#[derive(Debug, Clone, QueryableByName)]
struct Server {
    #[diesel(sql_type = Text)]
    user: String,
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = Integer)]
    version_number: i32,
    #[diesel(sql_type = Bool)]
    is_standby: bool,
    #[diesel(sql_type = Text)]
    fsync: String,
    #[diesel(sql_type = Text)]
    full_page_writes: String,
    #[diesel(sql_type = Text)]
    synchronous_standby_names: String,
    /// `None`: before PostgreSQL 17.
    #[diesel(sql_type = Nullable<Text>)]
    synchronized_standby_slots: Option<String>,
    /// `None`: not encrypted.
    #[diesel(sql_type = Nullable<Text>)]
    tls: Option<String>,
    #[diesel(sql_type = Bool)]
    is_local: bool,
    #[diesel(sql_type = BigInt)]
    unix_ms: i64,
}

#[derive(Debug, Clone, QueryableByName)]
struct Table {
    #[diesel(sql_type = Array<Text>)]
    columns: Vec<String>,
    #[diesel(sql_type = Bool)]
    has_index: bool,
    #[diesel(sql_type = Array<Text>)]
    missing_privileges: Vec<String>,
    #[diesel(sql_type = Bool)]
    reads_migrations: bool,
    /// Of the oldest events, as far as the role may read them.
    #[diesel(sql_type = Array<Text>)]
    topics: Vec<String>,
    #[diesel(sql_type = BigInt)]
    largest_bytes: i64,
}

#[derive(Debug, Clone, QueryableByName)]
struct Replication {
    #[diesel(sql_type = Text)]
    wal_level: String,
    #[diesel(sql_type = Bool)]
    may_replicate: bool,
    #[diesel(sql_type = BigInt)]
    free_slots: i64,
    #[diesel(sql_type = BigInt)]
    free_senders: i64,
    /// -1: no limit.
    #[diesel(sql_type = BigInt)]
    slot_keeps_mb_max: i64,
    #[diesel(sql_type = Bool)]
    has_publication: bool,
    #[diesel(sql_type = Bool)]
    may_create_publication: bool,
    /// `None`: there is no slot.
    #[diesel(sql_type = Nullable<Text>)]
    slot_status: Option<String>,
    #[diesel(sql_type = Bool)]
    slot_is_ours: bool,
    #[diesel(sql_type = Bool)]
    slot_fails_over: bool,
}

const SERVER: &str = "select current_user::text as user, current_setting('server_version') as version, \
         current_setting('server_version_num')::int / 10000 as version_number, \
         pg_is_in_recovery() as is_standby, \
         current_setting('fsync') as fsync, \
         current_setting('full_page_writes') as full_page_writes, \
         current_setting('synchronous_standby_names') as synchronous_standby_names, \
         current_setting('synchronized_standby_slots', true) as synchronized_standby_slots, \
         (select version from pg_stat_ssl where pid = pg_backend_pid() and ssl) as tls, \
         coalesce(inet_client_addr() <<= '127.0.0.0/8' or inet_client_addr() = '::1', true) as is_local, \
         (extract(epoch from clock_timestamp()) * 1000)::bigint as unix_ms";

/// Without rows: those need a privilege.
const TABLE: &str = "select \
         array(select attname || ' ' || format_type(atttypid, atttypmod) from pg_attribute \
             where attrelid = 'outbox'::regclass and attnum > 0 and not attisdropped) as columns, \
         exists (select from pg_index where indrelid = 'outbox'::regclass and indisvalid and indpred is null \
             and pg_get_indexdef(indexrelid) like '%(shard, seq)') as has_index, \
         array(select privilege || ' on ' || name from (values \
                 ('outbox', 'select'), ('outbox', 'delete'), ('parked_events', 'select'), \
                 ('parked_events', 'insert'), ('parked_events', 'update'), ('parked_events', 'delete') \
             ) as needed (name, privilege) \
             where not coalesce(has_table_privilege(to_regclass(name), privilege), false)) as missing_privileges, \
         coalesce(has_table_privilege(to_regclass('__diesel_schema_migrations'), 'select'), false) \
             as reads_migrations, \
         array[]::text[] as topics, 0::bigint as largest_bytes";

/// Of the oldest events: an outbox may have millions. Headers and framing take less than a kilobyte.
const ROWS: &str = "select coalesce(array_agg(distinct aggregatetype || '.events'), '{}') as topics, \
         coalesce(max(octet_length(payload::text) + octet_length(aggregateid) + 1000), 0)::bigint as largest_bytes \
     from (select * from outbox order by seq limit 10000) as oldest";

/// The role's right to replicate is asked as by the relay itself.
const REPLICATION: &str = "select current_setting('wal_level') as wal_level, \
         exists (select from pg_roles where rolname = current_user and (rolsuper or rolreplication)) \
             or exists (select from pg_roles as hosted where hosted.rolname = 'rds_replication' \
                 and pg_has_role(hosted.oid, 'member')) as may_replicate, \
         current_setting('max_replication_slots')::bigint \
             - (select count(*) from pg_replication_slots where slot_name <> ours.slot) as free_slots, \
         current_setting('max_wal_senders')::bigint \
             - (select count(*) from pg_stat_replication \
                 where pid is distinct from (select active_pid from pg_replication_slots where slot_name = ours.slot)) \
             as free_senders, \
         (select setting::bigint from pg_settings where name = 'max_slot_wal_keep_size') as slot_keeps_mb_max, \
         ours.has_publication, \
         coalesce(has_database_privilege(current_database(), 'create') \
             and pg_has_role((select relowner from pg_class where oid = to_regclass('outbox')), 'usage'), false) \
             as may_create_publication, \
         (select coalesce(wal_status, 'unknown') from pg_replication_slots where slot_name = ours.slot) as slot_status, \
         coalesce((select database = current_database() and plugin = 'pgoutput' \
             from pg_replication_slots where slot_name = ours.slot), true) as slot_is_ours, \
         coalesce((select (to_jsonb(slot) ->> 'failover')::bool \
             from pg_replication_slots as slot where slot_name = ours.slot), false) as slot_fails_over \
     from (select $1::name as slot, $2::bool as has_publication) as ours";

#[derive(QueryableByName)]
struct Rows {
    #[diesel(sql_type = Array<Text>)]
    topics: Vec<String>,
    #[diesel(sql_type = BigInt)]
    largest_bytes: i64,
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Bool)]
    found: bool,
}

/// Asks for the facts.
pub(super) async fn examine(
    conn: &mut AsyncPgConnection,
    mode: RelayMode,
) -> anyhow::Result<Facts> {
    let server: Server = statement(SERVER)
        .get_result(conn)
        .await
        .context("asking for the server's settings")?;
    let clock_difference = clock_difference(server.unix_ms);
    let has_outbox: Found = statement("select to_regclass('outbox') is not null as found")
        .get_result(conn)
        .await
        .context("looking for the table outbox")?;
    let table = if has_outbox.found {
        Some(examine_table(conn).await?)
    } else {
        None
    };
    let replication = match slot::publication(mode) {
        Some(publication) if !server.is_standby => {
            Some(examine_replication(conn, publication, has_outbox.found).await?)
        }
        _ => None,
    };
    Ok(Facts {
        server,
        table,
        replication,
        clock_difference,
    })
}

async fn examine_table(conn: &mut AsyncPgConnection) -> anyhow::Result<Table> {
    let looking = "looking at the table outbox";
    let mut table: Table = statement(TABLE).get_result(conn).await.context(looking)?;
    if table.missing_privileges.is_empty() && table.missing_columns().is_empty() {
        let rows: Rows = statement(ROWS).get_result(conn).await.context(looking)?;
        table.topics = rows.topics;
        table.largest_bytes = rows.largest_bytes;
    }
    Ok(table)
}

async fn examine_replication(
    conn: &mut AsyncPgConnection,
    publication: &str,
    has_outbox: bool,
) -> anyhow::Result<Replication> {
    let looking = "looking at slot and publication";
    let slot = slot::name_here(conn, publication).await.context(looking)?;
    let has_publication = has_outbox
        && slot::publication_version(conn, publication)
            .await
            .context(looking)?
            .is_some();
    statement(REPLICATION)
        .bind::<Text, _>(slot)
        .bind::<Bool, _>(has_publication)
        .get_result(conn)
        .await
        .context(looking)
}

fn clock_difference(unix_ms: i64) -> Duration {
    #[expect(
        clippy::disallowed_methods,
        reason = "this machine's clock is what is compared, and nothing is recorded with it"
    )]
    let here = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Duration::from_millis(u64::try_from(unix_ms).unwrap_or_default()).abs_diff(here)
}

impl Table {
    fn missing_columns(&self) -> Vec<&'static str> {
        let is_missing = |column: &&str| !self.columns.iter().any(|found| found == *column);
        COLUMNS.into_iter().filter(is_missing).collect()
    }
}

/// The list of checks of the database, in the order in which they are printed.
pub(super) fn judge(facts: &Facts, config: &Config) -> Vec<Finding> {
    let server = &facts.server;
    let mut findings = vec![version(server), primary(server), tls(server)];
    findings.extend([
        durability(server),
        standby(server),
        clock(facts.clock_difference),
    ]);
    match &facts.table {
        None => findings.push(Finding::wrong(
            "table outbox",
            "missing",
            "run `wallet-api migrate` or `bill-payer migrate`, whichever owns the database",
        )),
        Some(table) => findings.extend([
            columns(table),
            index(table),
            privileges(table, &server.user),
            migrations(table, &server.user),
            largest_event(table, config.publisher.message_bytes_max),
        ]),
    }
    if let Some(replication) = &facts.replication {
        findings.extend([
            wal_level(replication),
            role(replication, &server.user),
            free_slots(replication),
            free_senders(replication),
            publication(replication, config.relay_mode),
            slot(replication),
            stream_before_standby(server),
            slot_failover(replication, server.version_number),
            slot_limit(replication),
        ]);
    }
    findings
}

fn version(server: &Server) -> Finding {
    let (check, version) = ("PostgreSQL version", &server.version);
    if server.version_number < *VERSIONS.start() {
        Finding::wrong(check, version, "upgrade to PostgreSQL 15 or later")
    } else if server.version_number > *VERSIONS.end() {
        let unknown =
            "the relay's tests run on PostgreSQL 15 to 18: try this version under load first";
        Finding::advice(check, version, unknown)
    } else {
        Finding::ok(check, version)
    }
}

fn primary(server: &Server) -> Finding {
    if server.is_standby {
        let remedy = "point DATABASE_URL at the primary, or name all hosts and target_session_attrs=read-write";
        return Finding::wrong("primary", "the server is a standby and read-only", remedy);
    }
    Finding::ok("primary", "the server takes writes")
}

fn tls(server: &Server) -> Finding {
    match (&server.tls, server.is_local) {
        (Some(version), _) => Finding::ok("PostgreSQL TLS", version),
        (None, true) => Finding::ok("PostgreSQL TLS", "none, to a server on this machine"),
        (None, false) => Finding::advice(
            "PostgreSQL TLS",
            "the connection is not encrypted",
            "use a private network, or sslmode=verify-full in DATABASE_URL",
        ),
    }
}

fn durability(server: &Server) -> Finding {
    let check = "fsync, full_page_writes";
    let found = format!("{}, {}", server.fsync, server.full_page_writes);
    if found == "on, on" {
        return Finding::ok(check, found);
    }
    let remedy =
        "set both to on: a crash of the machine loses committed payments with their events";
    Finding::wrong(check, found, remedy)
}

fn standby(server: &Server) -> Finding {
    let check = "synchronous standby";
    match server.synchronous_standby_names.as_str() {
        "" => Finding::advice(
            check,
            "synchronous_standby_names is empty",
            "a failover may lose the last payments together with their events: have a synchronous standby \
             (a managed service with storage of its own may promise the same)",
        ),
        names => Finding::ok(check, names),
    }
}

fn clock(difference: Duration) -> Finding {
    let check = "clock difference";
    let found = format!("{} ms to this machine", difference.as_millis());
    if difference >= CLOCK_AHEAD_MAX {
        let remedy = "set the clocks: Kafka refuses records from an hour ahead";
        Finding::wrong(check, found, remedy)
    } else if difference > CLOCK_DIFFERENCE_MAX {
        Finding::advice(
            check,
            found,
            "synchronise the clocks: traces and lags show wrong times",
        )
    } else {
        Finding::ok(check, found)
    }
}

fn columns(table: &Table) -> Finding {
    let missing = table.missing_columns();
    if missing.is_empty() {
        return Finding::ok("columns of outbox", "all that the relay reads");
    }
    let found = format!("missing, or of another type: {}", missing.join(", "));
    Finding::wrong(
        "columns of outbox",
        found,
        "apply the migrations of the service that owns the database",
    )
}

fn index(table: &Table) -> Finding {
    let check = "index of outbox";
    if table.has_index {
        return Finding::ok(check, "(shard, seq)");
    }
    let remedy = "create index outbox_next_of_shard on outbox (shard, seq): without it each round reads the whole table";
    Finding::wrong(check, "there is no valid index on (shard, seq)", remedy)
}

fn privileges(table: &Table, user: &str) -> Finding {
    let check = "privileges";
    if table.missing_privileges.is_empty() {
        return Finding::ok(check, format!("\"{user}\" may do what the relay does"));
    }
    let missing = table.missing_privileges.join(", ");
    let grants: Vec<String> = table
        .missing_privileges
        .iter()
        .map(|privilege| format!("grant {privilege} to \"{user}\""))
        .collect();
    Finding::wrong(
        check,
        format!("\"{user}\" lacks {missing}"),
        grants.join("; "),
    )
}

fn migrations(table: &Table, user: &str) -> Finding {
    let check = "reads migrations";
    if table.reads_migrations {
        return Finding::ok(check, "/readyz names a migration that is missing");
    }
    let remedy = format!(
        "grant select on __diesel_schema_migrations to \"{user}\", so that /readyz checks the schema"
    );
    Finding::advice(check, format!("\"{user}\" may not"), remedy)
}

fn largest_event(table: &Table, message_bytes_max: u32) -> Finding {
    let check = "largest event";
    let found = format!(
        "about {} bytes, MESSAGE_BYTES_MAX is {message_bytes_max}",
        table.largest_bytes
    );
    if table.largest_bytes <= i64::from(message_bytes_max) {
        return Finding::ok(check, found);
    }
    let remedy = "raise MESSAGE_BYTES_MAX and the topic's max.message.bytes: the event is refused, and its key waits";
    Finding::wrong(check, found, remedy)
}

fn wal_level(replication: &Replication) -> Finding {
    match replication.wal_level.as_str() {
        "logical" => Finding::ok("wal_level", "logical"),
        level => Finding::wrong(
            "wal_level",
            level,
            "alter system set wal_level = 'logical', and restart PostgreSQL",
        ),
    }
}

fn role(replication: &Replication, user: &str) -> Finding {
    if replication.may_replicate {
        return Finding::ok("replication role", format!("\"{user}\" may replicate"));
    }
    let remedy = format!("alter role \"{user}\" replication");
    Finding::wrong(
        "replication role",
        format!("\"{user}\" may not replicate"),
        remedy,
    )
}

fn free_slots(replication: &Replication) -> Finding {
    free("max_replication_slots", replication.free_slots)
}

fn free_senders(replication: &Replication) -> Finding {
    free("max_wal_senders", replication.free_senders)
}

fn free(setting: &'static str, free: i64) -> Finding {
    if free > 0 {
        return Finding::ok(setting, format!("{free} free for this relay and others"));
    }
    let remedy = format!("raise {setting}, and restart PostgreSQL");
    Finding::wrong(setting, "none free", remedy)
}

fn publication(replication: &Replication, mode: RelayMode) -> Finding {
    let check = "publication";
    let name = slot::publication(mode).unwrap_or_default();
    if replication.has_publication {
        return Finding::ok(check, format!("{name} publishes each insert into outbox"));
    }
    if replication.may_create_publication {
        return Finding::ok(check, "missing; the relay may create it and does");
    }
    let remedy = format!(
        "create publication {name} for table outbox with (publish = 'insert'), as an administrator"
    );
    Finding::wrong(check, "missing, and this role may not create it", remedy)
}

fn slot(replication: &Replication) -> Finding {
    let check = "slot";
    match replication.slot_status.as_deref() {
        None => Finding::ok(check, "missing; the relay creates it"),
        Some(_) if !replication.slot_is_ours => Finding::wrong(
            check,
            "its name is taken by a slot of another database or plugin",
            "drop or rename that slot",
        ),
        Some("lost") => Finding::advice(
            check,
            "lost: PostgreSQL has deleted the log that it needs",
            "the relay recreates it and publishes the rows of the table; find out why nobody read it",
        ),
        Some(status) => Finding::ok(check, status),
    }
}

fn slot_failover(replication: &Replication, version_number: i32) -> Finding {
    let check = "slot failover";
    match (version_number, &replication.slot_status) {
        (..=16, _) => Finding::ok(
            check,
            "not before PostgreSQL 17: after a failover the relay recreates the slot",
        ),
        (_, None) => Finding::ok(check, "the relay creates the slot with failover"),
        (_, Some(_)) if replication.slot_fails_over => Finding::ok(
            check,
            "the slot is synchronised to standbys that ask for it",
        ),
        (_, Some(_)) => Finding::advice(
            check,
            "the slot was created without failover",
            "drop the slot while no relay runs: the relay recreates it with failover",
        ),
    }
}

/// Logical replication sends a commit before a synchronous standby has confirmed it, unless it is told to wait.
fn stream_before_standby(server: &Server) -> Finding {
    let check = "synchronized_standby_slots";
    let found = "a failover may lose a payment whose event the stream has published already";
    match (
        server.synchronous_standby_names.as_str(),
        server.synchronized_standby_slots.as_deref(),
    ) {
        ("", _) => Finding::ok(check, "there is no synchronous standby to wait for"),
        (_, Some("")) => Finding::wrong(
            check,
            format!("empty: {found}"),
            "name the physical slots of the synchronous standbys, and reload PostgreSQL",
        ),
        (_, Some(slots)) => Finding::ok(check, slots),
        (_, None) => Finding::wrong(
            check,
            format!("not before PostgreSQL 17: {found}"),
            "relay in mode poller, which sees a commit after the standby has it; or upgrade",
        ),
    }
}

fn slot_limit(replication: &Replication) -> Finding {
    let check = "max_slot_wal_keep_size";
    match replication.slot_keeps_mb_max {
        ..0 => Finding::advice(
            check,
            "no limit: a slot that nobody reads fills the disk",
            "set it to what the disk can spare, such as 4GB; the relay survives the loss of its slot",
        ),
        megabytes => Finding::ok(check, format!("{megabytes} MB")),
    }
}

#[cfg(test)]
mod tests {
    use chassis::config::DatabaseConfig;

    use super::super::finding::Verdict;
    use super::*;

    /// A server with a synchronous standby, set up for mode cdc.
    fn good() -> Facts {
        Facts {
            server: Server {
                user: "relay".to_owned(),
                version: "18.1".to_owned(),
                version_number: 18,
                is_standby: false,
                fsync: "on".to_owned(),
                full_page_writes: "on".to_owned(),
                synchronous_standby_names: "standby".to_owned(),
                synchronized_standby_slots: Some("standby".to_owned()),
                tls: Some("TLSv1.3".to_owned()),
                is_local: false,
                unix_ms: 0,
            },
            table: Some(Table {
                columns: COLUMNS.map(str::to_owned).into(),
                has_index: true,
                missing_privileges: Vec::new(),
                reads_migrations: true,
                topics: vec!["wallet.events".to_owned()],
                largest_bytes: 1_400,
            }),
            replication: Some(Replication {
                wal_level: "logical".to_owned(),
                may_replicate: true,
                free_slots: 9,
                free_senders: 9,
                slot_keeps_mb_max: 4_096,
                has_publication: true,
                may_create_publication: true,
                slot_status: Some("reserved".to_owned()),
                slot_is_ours: true,
                slot_fails_over: true,
            }),
            clock_difference: Duration::ZERO,
        }
    }

    fn judged(facts: &Facts) -> Vec<Finding> {
        let database = DatabaseConfig::new("", 1);
        let kafka = chassis::config::KafkaConfig::new(String::new(), String::new());
        let mut config = Config::new(database, kafka);
        config.relay_mode = RelayMode::Cdc;
        judge(facts, &config)
    }

    /// After `change`, the check `name` and no other is not ok, and says so.
    fn only(name: &str, verdict: Verdict, change: impl FnOnce(&mut Facts)) {
        let mut facts = good();
        change(&mut facts);
        let findings = judged(&facts);
        let bad: Vec<_> = findings
            .iter()
            .filter(|finding| finding.verdict != Verdict::Ok)
            .map(|finding| (finding.check.as_str(), finding.verdict))
            .collect();
        assert_eq!(bad, [(name, verdict)]);
        let has_remedy =
            |finding: &Finding| finding.remedy.is_some() == (finding.verdict != Verdict::Ok);
        assert!(findings.iter().all(has_remedy), "{findings:?}");
    }

    fn only_of_server(name: &str, verdict: Verdict, change: impl FnOnce(&mut Server)) {
        only(name, verdict, |facts| change(&mut facts.server));
    }

    fn only_of_table(name: &str, verdict: Verdict, change: impl FnOnce(&mut Table)) {
        only(name, verdict, |facts| change(facts.table.as_mut().unwrap()));
    }

    fn only_of_replication(name: &str, verdict: Verdict, change: impl FnOnce(&mut Replication)) {
        only(name, verdict, |facts| {
            change(facts.replication.as_mut().unwrap());
        });
    }

    #[test]
    fn a_database_that_is_set_up_has_nothing_to_correct() {
        let findings = judged(&good());
        let is_ok = |finding: &Finding| finding.verdict == Verdict::Ok;
        assert!(findings.iter().all(is_ok), "{findings:?}");
    }

    #[test]
    fn each_setting_of_the_server_is_a_check() {
        use Verdict::{Advice, Wrong};
        only_of_server("PostgreSQL version", Wrong, |server| {
            server.version_number = 14;
        });
        only_of_server("PostgreSQL version", Advice, |server| {
            server.version_number = 19;
        });
        only_of_server("primary", Wrong, |server| server.is_standby = true);
        only_of_server("PostgreSQL TLS", Advice, |server| server.tls = None);
        only_of_server("fsync, full_page_writes", Wrong, |server| {
            server.fsync = "off".to_owned();
        });
        only_of_server("fsync, full_page_writes", Wrong, |server| {
            server.full_page_writes = "off".to_owned();
        });
        only_of_server("synchronous standby", Advice, |server| {
            server.synchronous_standby_names = String::new();
        });
        only_of_server("synchronized_standby_slots", Wrong, |server| {
            server.synchronized_standby_slots = Some(String::new());
        });
        only_of_server("synchronized_standby_slots", Wrong, |server| {
            server.version_number = 16;
            server.synchronized_standby_slots = None;
        });
        let seconds = Duration::from_secs;
        only("clock difference", Advice, |facts| {
            facts.clock_difference = seconds(6);
        });
        only("clock difference", Wrong, |facts| {
            facts.clock_difference = seconds(3_600);
        });
    }

    #[test]
    fn no_column_of_the_outbox_is_left_out() {
        use diesel::QueryDsl as _;
        use outbox::schema::outbox::{all_columns, table};
        let query = table.select(all_columns);
        let query = diesel::debug_query::<diesel::pg::Pg, _>(&query).to_string();
        let columns = query.split(r#""outbox".""#).skip(1);
        let columns: Vec<_> = columns.filter_map(|it| it.split('"').next()).collect();
        let checked = COLUMNS.map(|column| column.split(' ').next().unwrap());
        assert_eq!(columns, checked);
    }

    #[test]
    fn each_need_of_the_table_is_a_check() {
        use Verdict::{Advice, Wrong};
        only("table outbox", Wrong, |facts| facts.table = None);
        only_of_table("columns of outbox", Wrong, |table| {
            table.columns[10] = "payload text".to_owned();
        });
        only_of_table("index of outbox", Wrong, |table| table.has_index = false);
        only_of_table("privileges", Wrong, |table| {
            table.missing_privileges = vec!["delete on outbox".to_owned()];
        });
        only_of_table("reads migrations", Advice, |table| {
            table.reads_migrations = false;
        });
        only_of_table("largest event", Wrong, |table| {
            table.largest_bytes = 1_000_001;
        });
    }

    #[test]
    fn each_need_of_replication_is_a_check() {
        use Verdict::{Advice, Wrong};
        only_of_replication("wal_level", Wrong, |it| it.wal_level = "replica".to_owned());
        only_of_replication("replication role", Wrong, |it| it.may_replicate = false);
        only_of_replication("max_replication_slots", Wrong, |it| it.free_slots = 0);
        only_of_replication("max_wal_senders", Wrong, |it| it.free_senders = 0);
        only_of_replication("publication", Wrong, |it| {
            it.has_publication = false;
            it.may_create_publication = false;
        });
        only_of_replication("slot", Wrong, |it| it.slot_is_ours = false);
        only_of_replication("slot", Advice, |it| {
            it.slot_status = Some("lost".to_owned());
        });
        only_of_replication("slot failover", Advice, |it| it.slot_fails_over = false);
        only_of_replication("max_slot_wal_keep_size", Advice, |it| {
            it.slot_keeps_mb_max = -1;
        });
    }

    #[test]
    fn mode_poller_needs_no_replication() {
        let mut facts = good();
        facts.replication = None;
        let is_of_replication = |finding: &Finding| finding.check == "wal_level";
        assert!(!judged(&facts).iter().any(is_of_replication));
    }
}
