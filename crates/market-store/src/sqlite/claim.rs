//! Who may flush a partition.

use rusqlite::{Connection, TransactionBehavior};

use crate::{Claim, TopicPartition};

/// Raises the epoch of each partition and reads its position, in one transaction.
pub(super) fn claim(
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
pub(super) fn positions(connection: &Connection, group: &str) -> rusqlite::Result<Vec<Claim>> {
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
