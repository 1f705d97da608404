//! Who may flush a partition, and how far it is: the table `positions`, the same in every kind of file.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::failure;
use crate::{Advance, Claim, FlushError, TopicPartition};

/// Raises the epoch of each partition and reads its position, in one transaction.
pub(crate) fn claim(
    connection: &mut Connection,
    group: &str,
    partitions: &[TopicPartition],
) -> rusqlite::Result<Vec<Claim>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut claims = Vec::with_capacity(partitions.len());
    {
        let mut statement = transaction.prepare_cached(
            "INSERT INTO positions (group_id, topic, partition, epoch) VALUES (?1, ?2, ?3, 1)
             ON CONFLICT DO UPDATE SET epoch = epoch + 1 RETURNING epoch, position",
        )?;
        for partition in partitions {
            let (epoch, position) = statement
                .query_row((group, &partition.topic, partition.partition), |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?;
            claims.push(Claim { partition: partition.clone(), epoch, position });
        }
    }
    transaction.commit()?;
    Ok(claims)
}

/// The positions of a group, sorted by partition.
pub(crate) fn positions(connection: &Connection, group: &str) -> rusqlite::Result<Vec<Claim>> {
    let mut statement = connection.prepare_cached(
        "SELECT topic, partition, epoch, position FROM positions WHERE group_id = ?1 ORDER BY topic, partition",
    )?;
    let claim = |row: &rusqlite::Row<'_>| {
        Ok(Claim {
            partition: TopicPartition { topic: row.get(0)?, partition: row.get(1)? },
            epoch: row.get(2)?,
            position: row.get(3)?,
        })
    };
    statement.query_map([group], claim)?.collect()
}

/// [`advance`] in a transaction of its own.
pub(crate) fn advance_alone(
    connection: &mut Connection,
    file: &Path,
    group: &str,
    advances: &[Advance],
) -> Result<(), FlushError> {
    let fail = |error| failure(file, error);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
    advance(&transaction, file, group, advances)?;
    Ok(transaction.commit().map_err(fail)?)
}

/// Checks epochs and positions, then moves the positions: all of them or, by the error, none.
pub(crate) fn advance(
    transaction: &Transaction<'_>,
    file: &Path,
    group: &str,
    advances: &[Advance],
) -> Result<(), FlushError> {
    let fail = |error| failure(file, error);
    let mut select = transaction
        .prepare_cached(
            "SELECT epoch, position FROM positions WHERE group_id = ?1 AND topic = ?2 AND partition = ?3",
        )
        .map_err(fail)?;
    let mut update = transaction
        .prepare_cached(
            "UPDATE positions SET position = ?4 WHERE group_id = ?1 AND topic = ?2 AND partition = ?3",
        )
        .map_err(fail)?;
    for advance in advances {
        let partition = &advance.partition;
        let found: Option<(i64, Option<i64>)> = select
            .query_row((group, &partition.topic, partition.partition), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(fail)?;
        let (found_epoch, found) = found.unwrap_or_default();
        if (found_epoch, found) != (advance.epoch, advance.from) {
            return Err(FlushError::Fenced {
                partition: partition.clone(),
                epoch: advance.epoch,
                from: advance.from,
                found_epoch,
                found,
            });
        }
        update.execute((group, &partition.topic, partition.partition, advance.to)).map_err(fail)?;
    }
    Ok(())
}
