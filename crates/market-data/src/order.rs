//! The total order of trades: who opened a candle and who closed it.

/// Where a message stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The partition of the topic.
    pub partition: i32,
    /// The offset of the record in its partition.
    pub offset: i64,
}

/// The full order of a trade, the same whoever reads it and how often.
///
/// What the chain says comes first: time, block (or slot, where a trade has no block number), position in the block, log.
/// Trades that agree in all of that (exchanges give only the second) keep the order in which they were written: a producer
/// puts the trades of one block, slot or second into one message, or, if they are too many, into several with one key,
/// so one partition keeps these in order. Hence *offset, then index in the array*. The partition comes last: it only
/// separates what nobody ordered, so that the order stays total.
///
/// All of these are properties of the log; consumers, lanes, flushes and restarts cannot change them. With the key that the
/// platform uses (slot or block) the number of partitions cannot either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Order {
    /// Unix seconds.
    pub block_time: i64,
    /// 0 where the trade has none.
    pub block_num: i64,
    /// The slot, only where there is no block number; else 0, so that it orders nothing that a block number orders.
    pub slot: i64,
    /// Position of the transaction in its block.
    pub transaction_index: i64,
    /// Position of the log in its block, or of the swap in its transaction.
    pub log_index: i64,
    /// Offset of the message.
    pub offset: i64,
    /// Position in the message's array.
    pub index: u32,
    /// Partition of the message.
    pub partition: i32,
}

/// Bytes of an [`Order`] as a store keeps it.
const BYTES_MAX: usize = 8 * 10;

impl Order {
    /// Appends a compact form: eight zigzag varints. For stores; [`Order::read`] reads it back.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.reserve(BYTES_MAX);
        for value in [
            self.block_time,
            self.block_num,
            self.slot,
            self.transaction_index,
            self.log_index,
            self.offset,
            i64::from(self.index),
            i64::from(self.partition),
        ] {
            let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
            while rest >= 0x80 {
                out.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            out.push(rest as u8);
        }
    }

    /// Reads what [`Order::write`] wrote; `None` if it is anything else.
    pub fn read(bytes: &[u8]) -> Option<Order> {
        let mut bytes = bytes.iter();
        let mut next = || -> Option<i64> {
            let mut value = 0u64;
            for shift in (0..64).step_by(7) {
                let byte = *bytes.next()?;
                value |= u64::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    return Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
                }
            }
            None
        };
        let order = Order {
            block_time: next()?,
            block_num: next()?,
            slot: next()?,
            transaction_index: next()?,
            log_index: next()?,
            offset: next()?,
            index: u32::try_from(next()?).ok()?,
            partition: i32::try_from(next()?).ok()?,
        };
        bytes.next().is_none().then_some(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_read_back() {
        for order in [
            Order::default(),
            Order {
                block_time: 1_704_412_823,
                block_num: 18_937_382,
                slot: -1,
                transaction_index: i64::MAX,
                log_index: i64::MIN,
                offset: 5,
                index: u32::MAX,
                partition: i32::MIN,
            },
        ] {
            let mut bytes = Vec::new();
            order.write(&mut bytes);
            assert_eq!(Order::read(&bytes), Some(order));
            assert_eq!(Order::read(&bytes[..bytes.len() - 1]), None);
            bytes.push(0);
            assert_eq!(Order::read(&bytes), None);
        }
    }

    #[test]
    fn a_later_message_of_the_same_second_comes_later_whatever_its_index() {
        let first = Order { block_time: 1, offset: 7, index: 9, ..Order::default() };
        let second = Order { block_time: 1, offset: 8, index: 0, ..Order::default() };
        assert!(first < second);
    }
}
