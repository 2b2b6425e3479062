//! Reading a message's headers, whatever bytes they are.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _};

/// The headers in order, without those whose name is not UTF-8.
///
/// rdkafka panics at such a name, and a broker takes any.
pub(crate) fn of<'a>(message: &'a BorrowedMessage<'_>) -> Vec<Header<'a, &'a [u8]>> {
    let Some(headers) = message.headers() else {
        return Vec::new();
    };
    let read = |place| catch_unwind(AssertUnwindSafe(|| headers.try_get(place)));
    (0..headers.count())
        .filter_map(|place| read(place).ok().flatten())
        .collect()
}
