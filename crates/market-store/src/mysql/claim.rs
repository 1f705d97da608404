//! Who may flush a partition, and how far it is: the same in every kind of store.

use mysql::prelude::Queryable;
use mysql::{Conn, Value};

use super::address::MySqlAddress;
use super::link::failure;
use super::row::{integer, integer_or_null, repeat, text};
use super::schema::PositionTables;
use crate::{Advance, Claim, FlushError, StoreError, TopicPartition};

/// Partitions that one statement raises.
const PER_STATEMENT: usize = 500;

/// Raises the epoch of each partition and reads its position. Runs in a transaction.
pub(crate) fn claim(
    connection: &mut Conn,
    address: &MySqlAddress,
    tables: PositionTables,
    group: &str,
    partitions: &[TopicPartition],
) -> Result<Vec<Claim>, StoreError> {
    let fail = |error| failure(address, error);
    lock_group(connection, address, tables, group)?;
    let mut sorted: Vec<&TopicPartition> = partitions.iter().collect();
    sorted.sort_unstable();
    for some in sorted.chunks(PER_STATEMENT) {
        let rows = repeat("(?, ?, ?, 1)", some.len(), ", ");
        let values: Vec<Value> = some
            .iter()
            .flat_map(|p| [group.as_bytes().into(), p.topic.as_bytes().into(), p.partition.into()])
            .collect();
        connection
            .exec_drop(
                format!(
                    "INSERT INTO {} (group_id, topic, partition_id, epoch) VALUES {rows}
                     ON DUPLICATE KEY UPDATE epoch = epoch + 1",
                    tables.positions
                ),
                values,
            )
            .map_err(fail)?;
    }
    let all = positions(connection, address, tables, group)?;
    let of = |partition: &TopicPartition| all.binary_search_by(|claim| claim.partition.cmp(partition));
    let claim = |partition: &TopicPartition| {
        let missing = || StoreError::Damaged {
            store: address.to_string(),
            what: "partition",
            value: format!("{partition}, which was just written and is not there"),
        };
        of(partition).map(|at| all[at].clone()).map_err(|_| missing())
    };
    partitions.iter().map(claim).collect()
}

/// Locks the row of the group until the transaction ends, as a flush does first: whoever writes for the group waits here, and no two wait
/// for each other.
pub(crate) fn lock_group(
    connection: &mut Conn,
    address: &MySqlAddress,
    tables: PositionTables,
    group: &str,
) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO {} (group_id, changes) VALUES (?, 0) ON DUPLICATE KEY UPDATE changes = changes",
        tables.groups
    );
    connection.exec_drop(sql, (group.as_bytes(),)).map_err(|error| failure(address, error))
}

/// The positions of a group, sorted by partition.
pub(crate) fn positions(
    connection: &mut Conn,
    address: &MySqlAddress,
    tables: PositionTables,
    group: &str,
) -> Result<Vec<Claim>, StoreError> {
    let fail = |error| failure(address, error);
    let rows = connection
        .exec_iter(
            format!(
                "SELECT topic, partition_id, epoch, position FROM {} WHERE group_id = ? ORDER BY topic, partition_id",
                tables.positions
            ),
            (group.as_bytes(),),
        )
        .map_err(fail)?;
    let mut claims = Vec::new();
    for row in rows {
        let row = row.map_err(fail)?;
        let partition = i32::try_from(integer(&row, 1, address)?)
            .map_err(|_| super::row::damaged(&row, 1, "number of a partition", address))?;
        claims.push(Claim {
            partition: TopicPartition::new(text(&row, 0, address)?, partition),
            epoch: integer(&row, 2, address)?,
            position: integer_or_null(&row, 3, address)?,
        });
    }
    Ok(claims)
}

/// Checks epochs and positions, then moves the positions: all of them or, by the error, none. Runs in a transaction that holds the row of
/// the group.
pub(crate) fn advance(
    connection: &mut Conn,
    address: &MySqlAddress,
    tables: PositionTables,
    group: &str,
    advances: &[Advance],
) -> Result<(), FlushError> {
    let found = positions(connection, address, tables, group)?;
    for advance in advances {
        let at = found.binary_search_by(|claim| claim.partition.cmp(&advance.partition));
        let (found_epoch, found) = at.map_or((0, None), |at| (found[at].epoch, found[at].position));
        if (found_epoch, found) != (advance.epoch, advance.from) {
            return Err(FlushError::Fenced {
                partition: advance.partition.clone(),
                epoch: advance.epoch,
                from: advance.from,
                found_epoch,
                found,
            });
        }
    }
    for some in advances.chunks(PER_STATEMENT) {
        let rows = repeat("(?, ?, ?, ?, ?)", some.len(), ", ");
        let values = |advance: &Advance| {
            let topic = advance.partition.topic.as_bytes();
            let partition = advance.partition.partition;
            [group.as_bytes().into(), topic.into(), partition.into(), advance.to.into(), advance.epoch.into()]
        };
        let values: Vec<Value> = some.iter().flat_map(values).collect();
        connection
            .exec_drop(
                format!(
                    "INSERT INTO {} (group_id, topic, partition_id, position, epoch) VALUES {rows}
                     ON DUPLICATE KEY UPDATE position = VALUES(position)",
                    tables.positions
                ),
                values,
            )
            .map_err(|error| failure(address, error))?;
    }
    Ok(())
}

/// Whether no group ever claimed anything.
pub(super) fn is_empty(connection: &mut Conn, address: &MySqlAddress) -> Result<bool, StoreError> {
    let group: Option<mysql::Row> = connection
        .query_first("SELECT group_id FROM candle_groups LIMIT 1")
        .map_err(|error| failure(address, error))?;
    Ok(group.is_none())
}
