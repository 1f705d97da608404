//! What the scanner remembers of the objects before: trades of one source are written alike.
//!
//! The names of an object's members stand in one order, so the next one is guessed and compared instead of being read; and of a pair's
//! trades each repeats the `pair_info`. What is remembered was read and found whole once, and JSON's strings and objects end where they
//! end whatever follows: equal bytes need not be read again. A guess that fails costs a comparison.

use super::Field;

/// Members of an object that are remembered.
const HEADS_MAX: usize = 64;
/// The longest `"name":` that is remembered.
const HEAD_BYTES: usize = 32;
/// Objects that are remembered.
const OBJECTS: usize = 4;
/// The longest of them.
const OBJECT_BYTES_MAX: usize = 1024;

/// See the module. `F` is what a member's name means to whoever reads it.
#[derive(Debug, Clone)]
pub(super) struct Memo<F = Field> {
    heads: Vec<Head<F>>,
    objects: [Vec<u8>; OBJECTS],
    /// Which object is forgotten next.
    next: usize,
}

/// `"name":`, and which field that is.
#[derive(Debug, Clone, Copy)]
struct Head<F> {
    text: [u8; HEAD_BYTES],
    /// All ones where the text counts.
    mask: [u8; HEAD_BYTES],
    len: usize,
    field: Option<F>,
}

impl<F> Default for Memo<F> {
    fn default() -> Memo<F> {
        Memo { heads: Vec::new(), objects: Default::default(), next: 0 }
    }
}

impl<F: Copy> Memo<F> {
    /// The field of the member that begins `rest`, and how long its head is, if it is the one that stood at this place before.
    #[inline]
    pub(super) fn head(&self, place: usize, rest: &[u8]) -> Option<(Option<F>, usize)> {
        let (head, chunk) = (self.heads.get(place)?, rest.first_chunk::<HEAD_BYTES>()?);
        let mut differ = 0;
        for ((byte, known), mask) in chunk.iter().zip(&head.text).zip(&head.mask) {
            differ |= (byte ^ known) & mask;
        }
        (differ == 0).then_some((head.field, head.len))
    }

    /// Remembers the head of the member at a place.
    pub(super) fn note_head(&mut self, place: usize, text: &[u8], field: Option<F>) {
        if place >= HEADS_MAX || place > self.heads.len() || text.len() > HEAD_BYTES {
            return;
        }
        let mut head = Head { text: [0; HEAD_BYTES], mask: [0; HEAD_BYTES], len: text.len(), field };
        head.text[..text.len()].copy_from_slice(text);
        head.mask[..text.len()].fill(0xff);
        match self.heads.get_mut(place) {
            Some(known) => *known = head,
            None => self.heads.push(head),
        }
    }

    /// The length of the object that begins `rest`, if it is one of those before.
    #[inline]
    pub(super) fn object(&self, rest: &[u8]) -> Option<usize> {
        let known = self.objects.iter().find(|object| !object.is_empty() && rest.starts_with(object))?;
        Some(known.len())
    }

    /// Remembers an object that was read whole.
    pub(super) fn note_object(&mut self, text: &[u8]) {
        if text.len() <= OBJECT_BYTES_MAX {
            self.objects[self.next].clear();
            self.objects[self.next].extend_from_slice(text);
            self.next = (self.next + 1) % OBJECTS;
        }
    }
}
