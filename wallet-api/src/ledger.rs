//! Double entry: accounts, and transfers between them.

use diesel::sql_types::{Array, Nullable, Numeric, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use events::{Currency, Money};
use outbox::statement;
use rust_decimal::Decimal;
use uuid::Uuid;

/// The accounts that every currency has beside its wallets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SystemAccount {
    /// Where money comes from.
    Funding,
    /// Money that has left a wallet and has not reached the provider.
    Clearing,
    /// Money the provider has.
    Provider,
}

impl SystemAccount {
    pub(crate) const ALL: [Self; 3] = [Self::Funding, Self::Clearing, Self::Provider];

    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::Funding => "funding",
            Self::Clearing => "clearing",
            Self::Provider => "provider",
        }
    }

    /// Known without asking the database: a name-based UUID of the kind and the currency.
    pub(crate) fn id(self, currency: Currency) -> Uuid {
        let name = format!("{}:{currency}", self.kind());
        Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
    }
}

/// Why money moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Funding to wallet.
    TopUp,
    /// Wallet to clearing.
    Payment,
    /// Clearing to provider.
    Settlement,
    /// Clearing to wallet.
    Refund,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::TopUp => "top_up",
            Self::Payment => "payment",
            Self::Settlement => "settlement",
            Self::Refund => "refund",
        }
    }
}

/// Transfers to be posted in one statement.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    ids: Vec<Uuid>,
    kinds: Vec<&'static str>,
    debits: Vec<Uuid>,
    credits: Vec<Uuid>,
    amounts: Vec<Decimal>,
    payments: Vec<Option<Uuid>>,
}

impl Transfers {
    /// Adds the transfer of `money` that `kind` makes on `wallet`, and returns its id.
    pub(crate) fn add(
        &mut self,
        kind: Kind,
        wallet: Uuid,
        money: Money,
        payment: Option<Uuid>,
    ) -> Uuid {
        let id = Uuid::now_v7();
        self.ids.push(id);
        self.add_without_id(kind, wallet, money, payment);
        id
    }

    /// Adds a top-up under an id that was made before.
    pub(crate) fn add_top_up(&mut self, id: Uuid, wallet: Uuid, money: Money) {
        self.ids.push(id);
        self.add_without_id(Kind::TopUp, wallet, money, None);
    }

    fn add_without_id(&mut self, kind: Kind, wallet: Uuid, money: Money, payment: Option<Uuid>) {
        let currency = money.currency();
        let clearing = SystemAccount::Clearing.id(currency);
        let (debit, credit) = match kind {
            Kind::TopUp => (SystemAccount::Funding.id(currency), wallet),
            Kind::Payment => (wallet, clearing),
            Kind::Settlement => (clearing, SystemAccount::Provider.id(currency)),
            Kind::Refund => (clearing, wallet),
        };
        self.kinds.push(kind.name());
        self.debits.push(debit);
        self.credits.push(credit);
        self.amounts.push(money.value());
        self.payments.push(payment);
    }

    /// Writes them. The balances of the wallets are the caller's to change, in the same transaction.
    pub(crate) async fn post(self, conn: &mut AsyncPgConnection) -> diesel::QueryResult<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        statement(
            "insert into transfers (id, kind, debit_account, credit_account, amount, payment_id) \
             select * from unnest($1, $2, $3, $4, $5, $6)",
        )
        .bind::<Array<SqlUuid>, _>(self.ids)
        .bind::<Array<Text>, _>(self.kinds)
        .bind::<Array<SqlUuid>, _>(self.debits)
        .bind::<Array<SqlUuid>, _>(self.credits)
        .bind::<Array<Numeric>, _>(self.amounts)
        .bind::<Array<Nullable<SqlUuid>>, _>(self.payments)
        .execute(conn)
        .await?;
        Ok(())
    }
}

/// Adds `changes` (negative for debits), one for each wallet, to the balances of locked wallets.
pub(crate) async fn change_balances(
    conn: &mut AsyncPgConnection,
    changes: impl IntoIterator<Item = (Uuid, Decimal)>,
) -> diesel::QueryResult<()> {
    let (wallets, changes): (Vec<Uuid>, Vec<Decimal>) = changes.into_iter().unzip();
    if wallets.is_empty() {
        return Ok(());
    }
    statement(
        "update wallets set balance = balance + change.amount, version = version + 1, updated_at = now() \
         from unnest($1, $2) as change (wallet_id, amount) where wallets.id = change.wallet_id",
    )
    .bind::<Array<SqlUuid>, _>(wallets)
    .bind::<Array<Numeric>, _>(changes)
    .execute(conn)
    .await?;
    Ok(())
}

/// Money out of its columns; `None` if they hold what never was money.
pub(crate) fn stored_money(amount: Decimal, currency: &str) -> Option<Money> {
    let amount = amount.normalize().to_string().parse().ok()?;
    Money::new(amount, currency.parse().ok()?).ok()
}
