//! What the lab has happen to a request after its first write.

use std::time::Duration;

use chassis::database::Pool;
use diesel::sql_types::{BigInt, Bool};
use diesel_async::RunQueryDsl as _;
use outbox::statement;

use crate::pattern::Between;
use crate::pay_error::BatchError;

/// How often a request that is held looks whether it may continue.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(diesel::QueryableByName)]
struct Free {
    #[diesel(sql_type = Bool)]
    is_free: bool,
}

impl Between {
    /// Waits, if the request is held. Returns whether the process dies here.
    pub(crate) async fn dies(self, pool: &Pool) -> Result<bool, BatchError> {
        let number = match self {
            Self::Nothing => return Ok(false),
            Self::Crash => return Ok(true),
            Self::Hold(number) => number,
        };
        // It asks again and again: a statement that waits for the lock would meet `lock_timeout`.
        while !is_free(pool, number).await? {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(false)
    }
}

async fn is_free(pool: &Pool, number: i64) -> Result<bool, BatchError> {
    let mut conn = pool.get().await?;
    let free: Free = statement("select pg_try_advisory_xact_lock_shared($1) as is_free")
        .bind::<BigInt, _>(number)
        .get_result(&mut conn)
        .await?;
    Ok(free.is_free)
}
