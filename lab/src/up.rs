//! `lab up`: starts the whole system, shows one payment, and runs until it is told to stop.

use std::convert::Infallible;
use std::path::Path;
use std::time::Instant;

use chassis::Service;
use chassis::config::{LogConfig, LogFormat};
use futures_util::future::try_join;
use lab_stack::commands::{self, Command, CommandRequest};
use lab_stack::config::{Settings, WALLET_RELAYS};
use lab_stack::home::{self, Home};
use lab_stack::pid_file::PidFile;
use lab_stack::ports::{WantedPort, base_url};
use lab_stack::process_table::ProcessTable;
use lab_stack::relay_mode::RelayMode;
use lab_stack::servers::Servers;
use lab_stack::sources::{Connect, Sources};
use lab_stack::stack::Stack;
use lab_stack::stop_signal::StopSignal;
use lab_stack::supervisor::Supervisor;
use lab_stack::{connect, databases, jvm, lost_data, ports, servers, system};
use lab_terminal as terminal;
use lab_terminal::human;
use tokio::sync::mpsc;

use crate::settings_in_force::{self, Setting};
use crate::{demo, detach, status};

/// Who watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Foreground,
    /// The process that `up --detach` has started, until the system is ready.
    Detached,
}

/// Runs the system until a signal comes, which is a failure only before it was ready; says so and returns at
/// once if it runs already.
pub(crate) async fn run(
    home: &Home,
    settings: &Settings,
    asked: Vec<Setting>,
    mode: Mode,
) -> anyhow::Result<bool> {
    if mode == Mode::Detached {
        detach::leave_terminal()?;
    }
    let programs = system::programs()?;
    let of_services = settings_in_force::of_services(&programs).await?;
    // One lab in a home; what a killed one has left is stopped first.
    let Some(_lock) = home.lock()? else {
        let asked: Vec<Setting> = asked.into_iter().chain(of_services).collect();
        return status::already_running(home, &asked).await;
    };
    let mut stop = StopSignal::catch()?;
    if let Some(earlier) = PidFile::load(home)? {
        earlier.stop_leftovers().await;
    }
    // Nothing is started while a port is missing.
    let sources = settings.sources(|| jvm::find_java().is_some(), connect::has_connectors(home))?;
    ports::check(&settings.wanted_ports(&sources))?;
    sources.check_given().await?;
    home::remove(&home.stack())?;
    for warning in lost_data::warnings(home, &sources) {
        terminal::line(warning);
    }

    // Run until a signal or a failure, then stop everything in order.
    let lab = base_url(settings.ports.lab_port);
    let mut in_force = settings_in_force::in_force(&asked, &of_services);
    if let Some(broker) = sources.broker.kind() {
        in_force.insert("BROKER".to_owned(), broker.to_owned());
    }
    let pid_file = PidFile::new(Some(lab), in_force)?;
    let process_table = ProcessTable::new(home.clone(), pid_file)?;
    let mut supervisor = Supervisor::new(home.clone(), process_table.clone());
    let start = Start {
        home,
        settings,
        mode,
        programs: &programs,
        sources: &sources,
        process_table: &process_table,
    };
    let outcome = tokio::select! {
        outcome = start.run(&mut supervisor) => outcome.map(|never| match never {}),
        _signal = stop.recv() => Ok(()),
    };
    terminal::line("Stopping.");
    supervisor.stop_all().await;
    home::remove(&home.stack())?;
    home::remove(&home.processes())?;
    outcome?;
    // Told to stop before it was ready: whoever waits for the system must not take it for running.
    let was_ready = process_table.stack().await.is_some();
    Ok(was_ready)
}

struct Start<'a> {
    home: &'a Home,
    settings: &'a Settings,
    mode: Mode,
    programs: &'a Path,
    sources: &'a Sources,
    process_table: &'a ProcessTable,
}

impl Start<'_> {
    /// Starts everything, then runs until it is dropped.
    async fn run(self, supervisor: &mut Supervisor) -> anyhow::Result<Infallible> {
        // The lab's own server comes first: `status` shows the start.
        let started_at = Instant::now();
        let log = LogConfig {
            // These would only say that a broker which is being started is not there yet. Later the page and `status` say what
            // is away.
            log: "warn,librdkafka=off,rdkafka=off,chassis::repeated=off".to_owned(),
            log_format: LogFormat::Pretty,
            otlp_endpoint: None,
            otel_service_name: None,
        };
        let mut service = Service::start("lab", &log)?;
        let (commands, mut requests) = commands::channel();
        lab_page::serve(
            &service,
            self.settings,
            self.home,
            self.process_table,
            commands,
        )
        .await?;

        // Servers, databases and topics, then the services.
        let servers = Servers::start(
            supervisor,
            self.process_table,
            self.home,
            self.home,
            self.sources,
        )
        .await?;
        let mut stack = prepare(self.home, self.programs, &servers, self.settings).await?;
        supervisor
            .start(system::services(
                self.home,
                self.programs,
                &stack,
                self.settings,
            ))
            .await?;
        if self.settings.relay_mode != RelayMode::Debezium {
            self.stop_connect(supervisor, &mut stack).await?;
        }
        self.process_table.publish(stack.clone()).await;
        terminal::part("lab", format_args!("{:<10} {}", "ready", stack.lab));
        terminal::line(format_args!("Ready after {}.", human(started_at.elapsed())));
        terminal::line(format_args!("The page: {}", stack.lab));

        // One payment, then commands until the end.
        demo::run(&stack).await;
        match self.mode {
            Mode::Foreground => terminal::line("\nRunning. Ctrl-C stops everything."),
            Mode::Detached => {
                terminal::line("\nRunning. ./dev down stops everything.");
                detach::release_terminal(self.home)?;
            }
        }
        tokio::select! {
            ended = self.carry_out(&mut requests, supervisor, &mut stack) => ended,
            failure = service.failed() => Err(failure),
        }
    }

    /// Carries out commands until it is dropped.
    async fn carry_out(
        &self,
        requests: &mut mpsc::Receiver<CommandRequest>,
        supervisor: &mut Supervisor,
        stack: &mut Stack,
    ) -> anyhow::Result<Infallible> {
        while let Some((command, answer)) = requests.recv().await {
            self.process_table.set_busy(Some(command.clone())).await;
            let outcome = match command {
                Command::RelayMode(mode) => self.switch_relays(mode, supervisor, stack).await,
                Command::Stop(name) => supervisor.put_aside(&name).await,
                Command::Start(name) => supervisor.start_again(&name).await,
                Command::Restart(name) => match supervisor.put_aside(&name).await {
                    Ok(()) => supervisor.start_again(&name).await,
                    Err(error) => Err(error),
                },
            };
            self.process_table.set_busy(None).await;
            // Whoever gave the command may be gone.
            drop(answer.send(outcome));
        }
        anyhow::bail!("the lab's own server has ended")
    }

    /// Stops the relays and starts them in another mode. Kafka Connect is there before the first one that needs it,
    /// and until the next mode has removed what the last one left there.
    async fn switch_relays(
        &self,
        mode: RelayMode,
        supervisor: &mut Supervisor,
        stack: &mut Stack,
    ) -> anyhow::Result<()> {
        let had_connect = stack.connect_url.is_some();
        let wanted = self.settings.connect(mode, &self.sources.broker)?;
        let wants_connect = !matches!(wanted, Connect::None);
        if wants_connect && !had_connect {
            if let Connect::Start { port } = wanted {
                ports::check(&[WantedPort::new(port, "kafka connect", "CONNECT_PORT")])?;
            }
            let brokers = &stack.kafka_brokers;
            let (url, part) = servers::prepare_connect(
                self.process_table,
                self.home,
                self.home,
                &wanted,
                brokers,
            )
            .await?;
            supervisor.start(part.into_iter().collect()).await?;
            stack.connect_url = url;
        }
        stack.relay_mode = mode;
        let relays = system::relays(self.programs, self.home, stack, self.settings);
        let names: Vec<String> = relays.iter().map(|relay| relay.name.clone()).collect();
        supervisor.stop(&names).await;
        self.process_table.publish(stack.clone()).await;
        supervisor.start(relays).await?;
        if !wants_connect {
            self.stop_connect(supervisor, stack).await?;
        }
        self.process_table.publish(stack.clone()).await;
        Ok(())
    }

    /// To be called when the relays are ready in a mode without it: they have deleted its connectors.
    async fn stop_connect(
        &self,
        supervisor: &mut Supervisor,
        stack: &mut Stack,
    ) -> anyhow::Result<()> {
        if stack.connect_url.take().is_none() {
            return Ok(());
        }
        supervisor.stop(&[connect::NAME.to_owned()]).await;
        self.process_table.forget(connect::NAME).await;
        connect::has_no_connectors(self.home)
    }
}

/// Makes databases and topics, and says where everything is; `pids` is left to the process table.
async fn prepare(
    home: &Home,
    programs: &Path,
    servers: &Servers,
    settings: &Settings,
) -> anyhow::Result<Stack> {
    servers.create_our_topics(&settings.topic_prefix).await?;
    let server = &servers.database_url;
    let has_roles = settings.has_own_roles();
    let (wallet_database_url, bill_payer_database_url) = try_join(
        databases::prepare(home, programs, server, "wallet", "wallet-api", has_roles),
        databases::prepare(
            home,
            programs,
            server,
            "bill_payer",
            "bill-payer",
            has_roles,
        ),
    )
    .await?;
    if has_roles {
        for (url, service, relay) in [
            (&wallet_database_url, "wallet_api", "wallet_relay"),
            (&bill_payer_database_url, "bill_payer", "bill_relay"),
        ] {
            databases::let_roles_in(home, url, service, relay).await?;
        }
    }
    let ports = &settings.ports;
    Ok(Stack {
        wallet_api: base_url(ports.wallet_api_port),
        wallet_api_admin: base_url(ports.wallet_api_admin_port),
        bill_payer: base_url(ports.bill_payer_port),
        mock_provider: base_url(ports.mock_provider_port),
        lab: base_url(ports.lab_port),
        relays: (0..=WALLET_RELAYS)
            .map(|nth| base_url(ports.relay(nth)))
            .collect(),
        wallet_database_url,
        bill_payer_database_url,
        kafka_brokers: servers.kafka_brokers.clone(),
        topic_prefix: settings.topic_prefix.clone(),
        connect_url: servers.connect_url.clone(),
        relay_mode: settings.relay_mode,
        pids: std::collections::BTreeMap::new(),
    })
}
