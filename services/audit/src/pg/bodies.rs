//! Bodies on their way into the database, in the binary format of COPY.
//!
//! They are nine tenths of the bytes of a batch. As parameters of a statement the server would keep each of
//! them three times before it is stored; COPY writes whole pages at once.
//!
//! <https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-BINARY-FORMAT>

use bytes::BufMut as _;
use tocsin_store::Tx;

use crate::decide::Record;
use crate::error::OperationError;

const COPY: &str = "copy bodies (stored_at, stream, stream_sequence, headers, payload) from stdin with (format binary)";

/// Signature, flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// In place of the number of columns, after the last row.
const END: i16 = -1;

const COLUMNS: i16 = 5;

/// The version of `jsonb` in binary form: text follows.
const JSONB_VERSION: u8 = 1;

/// PostgreSQL counts microseconds from 2000-01-01.
const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;

/// Sent at once: far more than a system call costs, far less than a batch.
const CHUNK_BYTES: usize = 128 * 1024;

/// Stores the bodies of `records`, none of which has one yet.
pub(super) async fn copy(tx: &mut Tx<'_>, records: &[&Record]) -> Result<(), OperationError> {
    let failed = || OperationError::query("copy bodies");
    let mut copying = tx.copy_in_raw(COPY).await.map_err(failed())?;
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    chunk.put_slice(HEADER);
    for record in records {
        put(&mut chunk, record)?;
        if chunk.len() >= CHUNK_BYTES {
            copying.send(chunk.as_slice()).await.map_err(failed())?;
            chunk.clear();
        }
    }
    chunk.put_i16(END);
    copying.send(chunk.as_slice()).await.map_err(failed())?;
    copying.finish().await.map_err(failed())?;
    Ok(())
}

fn put(chunk: &mut Vec<u8>, record: &Record) -> Result<(), OperationError> {
    let microseconds = record.stored_at.as_microsecond() - EPOCH_MICROSECONDS;
    chunk.put_i16(COLUMNS);
    put_value(chunk, &[&microseconds.to_be_bytes()])?;
    put_value(chunk, &[record.stream.as_bytes()])?;
    put_value(chunk, &[&record.sequence.to_be_bytes()])?;
    put_value(chunk, &[&[JSONB_VERSION], record.headers.as_bytes()])?;
    put_value(chunk, &[&record.payload])
}

fn put_value(chunk: &mut Vec<u8>, parts: &[&[u8]]) -> Result<(), OperationError> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let length = i32::try_from(length).map_err(|too_long| {
        OperationError::query("copy bodies")(sqlx::Error::Encode(Box::new(too_long)))
    })?;
    chunk.put_i32(length);
    for part in parts {
        chunk.put_slice(part);
    }
    Ok(())
}
