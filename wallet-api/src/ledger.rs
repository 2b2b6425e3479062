//! Double entry: accounts, and transfers between them.

use diesel::sql_types::{Nullable, Numeric, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use events::{Currency, Money};
use outbox::statement;
use rust_decimal::Decimal;
use uuid::Uuid;

/// The accounts that every currency has besides its wallets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SystemAccount {
    /// Where money comes from.
    Funding,
    /// Holds money that has left a wallet and has not reached the provider.
    Clearing,
    /// Holds money that the provider has.
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

    /// Known without a query: a name-based UUID of the kind and the currency.
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

/// Money that moves between a wallet and a system account.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) id: Uuid,
    pub(crate) kind: Kind,
    pub(crate) wallet_id: Uuid,
    pub(crate) money: Money,
    pub(crate) payment_id: Option<Uuid>,
}

impl Transfer {
    pub(crate) fn of_payment(kind: Kind, wallet_id: Uuid, money: Money, payment_id: Uuid) -> Self {
        Self {
            id: Uuid::now_v7(),
            kind,
            wallet_id,
            money,
            payment_id: Some(payment_id),
        }
    }

    /// The accounts to debit and to credit.
    fn accounts(&self) -> (Uuid, Uuid) {
        let system = |account: SystemAccount| account.id(self.money.currency());
        match self.kind {
            Kind::TopUp => (system(SystemAccount::Funding), self.wallet_id),
            Kind::Payment => (self.wallet_id, system(SystemAccount::Clearing)),
            Kind::Settlement => (
                system(SystemAccount::Clearing),
                system(SystemAccount::Provider),
            ),
            Kind::Refund => (system(SystemAccount::Clearing), self.wallet_id),
        }
    }
}

/// Posts `transfers`. The caller changes the balances of the wallets, in the same transaction, and may send both statements together.
pub(crate) async fn post(
    mut conn: &AsyncPgConnection,
    transfers: &[Transfer],
) -> diesel::QueryResult<()> {
    if transfers.is_empty() {
        return Ok(());
    }
    let accounts: Vec<(Uuid, Uuid)> = transfers.iter().map(Transfer::accounts).collect();
    statement(
        "insert into transfers (id, kind, debit_account, credit_account, amount, payment_id) \
         select * from unnest($1, $2, $3, $4, $5, $6)",
    )
    .column::<SqlUuid, _, _>(transfers, |transfer| transfer.id)
    .column::<Text, _, _>(transfers, |transfer| transfer.kind.name())
    .column::<SqlUuid, _, _>(&accounts, |(debit, _)| *debit)
    .column::<SqlUuid, _, _>(&accounts, |(_, credit)| *credit)
    .column::<Numeric, _, _>(transfers, |transfer| transfer.money.value())
    .column::<Nullable<SqlUuid>, _, _>(transfers, |transfer| transfer.payment_id)
    .execute(&mut conn)
    .await?;
    Ok(())
}

/// Adds `changes` (negative for debits), one for each wallet, to the balances of locked wallets.
pub(crate) async fn change_balances(
    mut conn: &AsyncPgConnection,
    changes: impl IntoIterator<Item = (Uuid, Decimal)>,
) -> diesel::QueryResult<()> {
    let changes: Vec<(Uuid, Decimal)> = changes.into_iter().collect();
    if changes.is_empty() {
        return Ok(());
    }
    statement(
        "update wallets set balance = balance + change.amount, version = version + 1, updated_at = now() \
         from unnest($1, $2) as change (wallet_id, amount) where wallets.id = change.wallet_id",
    )
    .column::<SqlUuid, _, _>(&changes, |(wallet_id, _)| *wallet_id)
    .column::<Numeric, _, _>(&changes, |(_, amount)| *amount)
    .execute(&mut conn)
    .await?;
    Ok(())
}
