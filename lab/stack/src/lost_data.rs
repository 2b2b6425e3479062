//! Which data of a home is missing while other data is there.

use std::path::Path;

use crate::home::Home;
use crate::sources::{Broker, Database, Sources};
use crate::{kafka, postgres};

/// Which of the three parts that keep data have some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept {
    databases: bool,
    topics: bool,
    provider: bool,
}

/// Says, for each part that begins with nothing although the others do not, what is lost and what to do. To be called
/// before the parts are started. Servers that are given are not looked at.
pub fn warnings(home: &Home, sources: &Sources) -> Vec<String> {
    let starts_database = matches!(sources.database, Database::Start { .. });
    let starts_broker = matches!(sources.broker, Broker::Start(_));
    let kept = Kept {
        databases: !starts_database || postgres::has_data(home),
        topics: !starts_broker || kafka::has_data(home),
        provider: home.provider_journal().exists(),
    };
    let is_new =
        !(kept.databases && starts_database || kept.topics && starts_broker || kept.provider);
    if is_new {
        return Vec::new();
    }
    describe(kept, home.root())
}

fn describe(kept: Kept, root: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut add = |is_kept: bool, text: &str| {
        if !is_kept {
            warnings.push(text.to_owned());
        }
    };
    add(
        kept.databases,
        "PostgreSQL's data is missing, and begins empty: all wallets, payments, transfers and bills are lost. What \
         Kafka and the provider still know of them has no wallet any more; ./dev audit reports it.",
    );
    add(
        kept.topics,
        "Kafka's data is missing, and begins empty: events that were published and not consumed are lost, and their \
         payments stay pending. docs/recovery.md (A lost Kafka) says how to redrive them; ./dev audit names them.",
    );
    add(
        kept.provider,
        "The provider's journal is missing, and begins empty: the provider has forgotten all payments. ./dev audit \
         reports them; docs/recovery.md (A provider that has forgotten) says what to do.",
    );
    if !warnings.is_empty() {
        warnings.push(format!(
            "To begin with nothing everywhere instead: ./dev down, then rm -rf {}",
            root.display()
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::{Connect, Durability, KafkaPorts};

    #[test]
    fn each_part_that_lost_its_data_is_named_and_a_new_home_lost_nothing() {
        let described = |databases, topics, provider| {
            let kept = Kept {
                databases,
                topics,
                provider,
            };
            describe(kept, Path::new("/home/.dev")).join("\n")
        };
        assert_eq!(described(true, true, true), "");
        let said = described(true, false, true);
        assert!(said.starts_with("Kafka's data is missing"), "{said}");
        assert!(said.ends_with("rm -rf /home/.dev"), "{said}");
        assert_eq!(said.lines().count(), 2);
        let said = described(false, true, true);
        assert!(said.starts_with("PostgreSQL's data is missing"), "{said}");
        let said = described(true, true, false);
        assert!(
            said.starts_with("The provider's journal is missing"),
            "{said}"
        );

        let root = std::env::temp_dir().join(format!("lab-lost-{}", std::process::id()));
        let home = Home::new(&root).unwrap();
        let sources = Sources {
            database: Database::Start {
                port: 1,
                durability: Durability::None,
            },
            broker: Broker::Start(KafkaPorts {
                broker: 1,
                controller: 1,
            }),
            connect: Connect::None,
        };
        assert_eq!(warnings(&home, &sources), Vec::<String>::new());
        std::fs::create_dir_all(home.postgres().join("data/base")).unwrap();
        std::fs::write(home.provider_journal(), "").unwrap();
        assert_eq!(
            warnings(&home, &sources).len(),
            2,
            "only Kafka's is missing"
        );
        std::fs::create_dir_all(home.kafka_data().join("wallet.events-0")).unwrap();
        assert_eq!(warnings(&home, &sources), Vec::<String>::new());
        std::fs::remove_dir_all(root).unwrap();
    }
}
