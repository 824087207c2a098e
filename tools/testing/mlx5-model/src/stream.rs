// SPDX-License-Identifier: GPL-2.0

//! The state of a VHCA on its way: a whole image, then what has changed, each of them in one piece or
//! in several. A piece is what one SAVE_VHCA_STATE writes, and one LOAD_VHCA_STATE takes.
//!
//! Known of the real thing is only what the drivers do: there are incremental saves of a VHCA that is
//! tracked, chunks, and loads that follow each other. What is in a piece is the model's own. It is
//! strict, because a vendor's may be: each piece says which stream it is of and which number it has
//! there, and no other is taken.
//!
//! The state is the objects, see [`crate::image`], and a ballast of any size: bytes that nobody keeps,
//! because each follows from where it is.

/// What a piece begins with: the name, and the version of the layout.
const MAGIC: &[u8; 8] = b"mlx5mdl\x02";
/// Bytes of a piece before what it is for.
pub const HEADER: u64 = 40;
/// It is the last piece of an update.
const LAST: u8 = 1;
/// And there are no more updates: the state is whole.
const FINAL: u8 = 2;
/// Bytes that are compared at a time.
const BLOCK: usize = 64;
/// More than the objects of any VF take.
const MAX_HEAD: u64 = 256 << 20;

/// The byte of the ballast at `at`.
fn ballast(at: u64) -> u8 {
    let word = (at / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (word >> (8 * (at % 8))) as u8
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_be_bytes(word.try_into().ok()?))
}

/// What is new in a state, as bytes: first `head`, and then the ballast `from..to`.
///
/// ```text
/// head    8 bytes each: its own length; of the objects; from; to; how many blocks follow
///         a block: where in the objects it is, its length, and its bytes
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Update {
    head: Vec<u8>,
    from: u64,
    to: u64,
    /// Bytes that are sent.
    sent: u64,
}

impl Update {
    const FIXED: usize = 40;

    /// What makes `new` of `old`, and the ballast `to` bytes long that is `from`.
    fn new(old: &[u8], new: &[u8], from: u64, to: u64) -> Self {
        let blocks = new.chunks(BLOCK).enumerate().filter(|(n, block)| {
            let at = n * BLOCK;
            old.get(at..at + block.len()) != Some(*block)
        });
        let mut body = Vec::new();
        let mut count = 0u64;
        for (n, block) in blocks {
            body.extend(((n * BLOCK) as u64).to_be_bytes());
            body.extend((block.len() as u64).to_be_bytes());
            body.extend(block);
            count += 1;
        }
        let mut head = Vec::with_capacity(Self::FIXED + body.len());
        let len = (Self::FIXED + body.len()) as u64;
        for word in [len, new.len() as u64, from, to, count] {
            head.extend(word.to_be_bytes());
        }
        head.extend(body);
        Self {
            head,
            from,
            to,
            sent: 0,
        }
    }

    /// Bytes that are left to send.
    fn left(&self) -> u64 {
        self.head.len() as u64 + (self.to - self.from) - self.sent
    }

    /// The next `len` bytes of those.
    fn take(&mut self, len: u64) -> Vec<u8> {
        let begin = self.sent;
        self.sent += len.min(self.left());
        let head = self.head.len() as u64;
        let (from, end) = (self.from, self.sent);
        let mut bytes: Vec<u8> = Vec::with_capacity((end - begin) as usize);
        let in_head = begin.min(head) as usize..end.min(head) as usize;
        bytes.extend(self.head.get(in_head).unwrap_or(&[]));
        bytes.extend((begin.max(head)..end.max(head)).map(|at| ballast(from + (at - head))));
        bytes
    }
}

/// How much a save would write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// All that there is to write, with the headers of as many pieces as there are updates.
    pub total: u64,
    /// Of that, what has to be in one piece, if there are no chunks.
    pub next: u64,
}

/// A state that is being saved.
#[derive(Debug)]
pub struct Saving {
    stream: u64,
    number: u32,
    /// What was begun, and has pieces left.
    pending: Option<Update>,
    /// The objects, and the length of the ballast, as the updates so far leave them.
    objects: Vec<u8>,
    ballast: u64,
    /// What changes is noted.
    pub tracked: bool,
    /// The last update was begun: there will be no other.
    finished: bool,
}

impl Saving {
    /// A new stream.
    pub fn new(stream: u64) -> Self {
        Self {
            stream,
            number: 0,
            pending: None,
            objects: Vec::new(),
            ballast: 0,
            tracked: true,
            finished: false,
        }
    }

    fn update(&self, objects: &[u8], ballast: u64) -> Update {
        Update::new(&self.objects, objects, self.ballast, ballast)
    }

    /// Are there pieces of what was begun?
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Has something changed that is not in what was begun?
    pub fn is_dirty(&self, objects: &[u8], ballast: u64) -> bool {
        self.objects != objects || self.ballast != ballast
    }

    /// What there is to be saved now. Nothing has to be as long as it runs and nothing has changed.
    pub fn size(&self, objects: &[u8], ballast: u64, stopped: bool) -> Size {
        let pending = self.pending.as_ref().map(|update| HEADER + update.left());
        let fresh = (self.is_dirty(objects, ballast) || (stopped && !self.finished))
            .then(|| HEADER + self.update(objects, ballast).left());
        Size {
            total: pending.unwrap_or(0) + fresh.unwrap_or(0),
            next: pending.or(fresh).unwrap_or(0),
        }
    }

    /// The next piece, of at most `room` bytes; `finish` if there is to be no other update than what
    /// is new now. `None` if there is no room for a piece at all.
    pub fn save(
        &mut self,
        objects: &[u8],
        ballast: u64,
        room: u64,
        finish: bool,
    ) -> Option<Vec<u8>> {
        let space = room.checked_sub(HEADER).filter(|space| *space > 0)?;
        if self.pending.is_none() {
            self.pending = Some(self.update(objects, ballast));
            self.objects = objects.to_vec();
            self.ballast = ballast;
            self.finished = finish;
        }
        let mut update = self.pending.take()?;
        let body = update.take(space);
        let mut flags = 0;
        if update.left() == 0 {
            flags |= LAST;
            if self.finished {
                flags |= FINAL;
            }
        } else {
            self.pending = Some(update);
        }
        let mut piece = MAGIC.to_vec();
        piece.extend(self.stream.to_be_bytes());
        piece.extend(u64::from(self.number).to_be_bytes());
        piece.extend(u64::from(flags).to_be_bytes());
        piece.extend((body.len() as u64).to_be_bytes());
        piece.extend(body);
        self.number += 1;
        Some(piece)
    }

    /// Is all of it written?
    pub fn is_done(&self) -> bool {
        self.finished && self.pending.is_none()
    }
}

/// Why a piece is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is no piece, or its length is another one.
    Piece,
    /// It is of another stream, or not the next one of this.
    Order,
    /// What is in it makes no sense.
    Content,
}

/// A state that is being loaded.
#[derive(Debug)]
pub struct Loading {
    stream: u64,
    number: u64,
    /// Of the update whose pieces are coming.
    head: Vec<u8>,
    /// Bytes of ballast of it that have come.
    ballast_came: u64,
    /// The objects and the length of the ballast by now.
    objects: Vec<u8>,
    /// As above.
    pub ballast: u64,
    whole: bool,
}

impl Loading {
    /// Is it whole?
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The next piece after `before`; the first of a stream may come at any time. What there is
    /// afterwards, and the objects, if an update is complete.
    pub fn load(before: Option<Self>, piece: &[u8]) -> Result<(Self, Option<Vec<u8>>), Wrong> {
        let rest = piece.strip_prefix(MAGIC).ok_or(Wrong::Piece)?;
        let word = |n: usize| number(rest, 8 * n).ok_or(Wrong::Piece);
        let (stream, number, flags, len) = (word(0)?, word(1)?, word(2)?, word(3)?);
        let body = rest.get(HEADER as usize - MAGIC.len()..);
        let body = body.ok_or(Wrong::Piece)?;
        if body.len() as u64 != len || flags & !u64::from(LAST | FINAL) != 0 {
            return Err(Wrong::Piece);
        }
        let mut this = match before {
            _ if number == 0 => Self {
                stream,
                number,
                head: Vec::new(),
                ballast_came: 0,
                objects: Vec::new(),
                ballast: 0,
                whole: false,
            },
            Some(this) if this.stream == stream && this.number == number && !this.whole => this,
            _ => return Err(Wrong::Order),
        };
        this.number += 1;
        this.take(body)?;
        if flags & u64::from(LAST) == 0 {
            return Ok((this, None));
        }
        this.apply()?;
        this.whole = flags & u64::from(FINAL) != 0;
        let objects = this.objects.clone();
        Ok((this, Some(objects)))
    }

    /// Adds to the update.
    fn take(&mut self, mut body: &[u8]) -> Result<(), Wrong> {
        while let Some((first, rest)) = body.split_first() {
            let needed = match number(&self.head, 0) {
                Some(len) if len > MAX_HEAD => return Err(Wrong::Content),
                Some(len) => len as usize,
                None => 8,
            };
            if self.head.len() < needed {
                let n = (needed - self.head.len()).min(body.len());
                self.head.extend(body.get(..n).unwrap_or(&[]));
                body = body.get(n..).unwrap_or(&[]);
                continue;
            }
            let from = number(&self.head, 16).ok_or(Wrong::Content)?;
            let at = from.checked_add(self.ballast_came).ok_or(Wrong::Content)?;
            if *first != ballast(at) {
                return Err(Wrong::Content);
            }
            self.ballast_came += 1;
            body = rest;
        }
        Ok(())
    }

    /// All pieces of the update are there.
    fn apply(&mut self) -> Result<(), Wrong> {
        let head = std::mem::take(&mut self.head);
        let word = |n: usize| number(&head, 8 * n).ok_or(Wrong::Content);
        let (len, objects, from, to, count) = (word(0)?, word(1)?, word(2)?, word(3)?, word(4)?);
        let came = from.checked_add(std::mem::take(&mut self.ballast_came));
        if len != head.len() as u64
            || objects > MAX_HEAD
            || from != self.ballast
            || came != Some(to)
        {
            return Err(Wrong::Content);
        }
        self.ballast = to;
        self.objects.resize(objects as usize, 0);
        let mut at = Update::FIXED;
        for _ in 0..count {
            let (to, len) = (number(&head, at), number(&head, at.saturating_add(8)));
            let (to, len) = to.zip(len).ok_or(Wrong::Content)?;
            let begin = at + 16;
            let end = begin.checked_add(usize::try_from(len).map_err(|_| Wrong::Content)?);
            let block = end.and_then(|end| head.get(begin..end));
            let block = block.ok_or(Wrong::Content)?;
            let to = usize::try_from(to).map_err(|_| Wrong::Content)?;
            let place = to.checked_add(block.len());
            let place = place.and_then(|end| self.objects.get_mut(to..end));
            place.ok_or(Wrong::Content)?.copy_from_slice(block);
            at = begin + block.len();
        }
        (at == head.len()).then_some(()).ok_or(Wrong::Content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a source goes through: objects, ballast, and how much room each save has.
    type Rounds = Vec<(Vec<u8>, u64, u64)>;

    fn rounds() -> impl Strategy<Value = Rounds> {
        let round = (
            prop::collection::vec(0u8..4, 0..400),
            0u64..300,
            HEADER + 1..HEADER + 500,
        );
        prop::collection::vec(round, 1..6)
    }

    /// All pieces; the last round is with the source stopped.
    fn pieces(rounds: &Rounds) -> Vec<Vec<u8>> {
        let mut saving = Saving::new(7);
        let mut pieces = Vec::new();
        let mut ballast = 0;
        for (n, (objects, more, room)) in rounds.iter().enumerate() {
            ballast += more;
            let last = n + 1 == rounds.len();
            loop {
                let size = saving.size(objects, ballast, last);
                let piece = saving.save(objects, ballast, *room, last);
                let piece = piece.expect("there is room");
                assert!(piece.len() as u64 <= (*room).min(size.next));
                pieces.push(piece);
                if saving.is_done() || (!last && !saving.is_pending()) {
                    break;
                }
            }
            assert_eq!(saving.is_done(), last);
        }
        assert_eq!(
            saving
                .size(&rounds[rounds.len() - 1].0, ballast, true)
                .total,
            0
        );
        pieces
    }

    fn load(pieces: &[Vec<u8>]) -> Result<(Loading, Vec<u8>), Wrong> {
        let mut loading = None;
        let mut objects = Vec::new();
        for piece in pieces {
            let (next, update) = Loading::load(loading, piece)?;
            objects = update.unwrap_or(objects);
            loading = Some(next);
        }
        Ok((loading.ok_or(Wrong::Piece)?, objects))
    }

    proptest! {
        #[test]
        fn what_was_saved_is_loaded(rounds in rounds()) {
            let (loading, objects) = load(&pieces(&rounds)).expect("it is what was saved");
            prop_assert!(loading.is_whole());
            prop_assert_eq!(&objects, &rounds[rounds.len() - 1].0);
            prop_assert_eq!(loading.ballast, rounds.iter().map(|round| round.1).sum::<u64>());
        }

        /// A piece that is missing, twice there, or of another stream.
        #[test]
        fn gaps_are_refused(rounds in rounds(), at: prop::sample::Index, what in 0..3) {
            let mut pieces = pieces(&rounds);
            let at = at.index(pieces.len());
            match what {
                0 if at + 1 < pieces.len() && pieces.len() > 1 => drop(pieces.remove(at)),
                1 if at > 0 => pieces.insert(at, pieces[at].clone()),
                2 if at > 0 => pieces[at][15] ^= 1,
                _ => return Ok(()),
            }
            prop_assert_eq!(load(&pieces).err(), Some(Wrong::Order));
        }

        #[test]
        fn lengths_are_exact(rounds in rounds(), at: prop::sample::Index, more: bool) {
            let mut pieces = pieces(&rounds);
            let at = at.index(pieces.len());
            if more {
                pieces[at].push(0);
            } else {
                pieces[at].pop();
            }
            prop_assert_eq!(load(&pieces).err(), Some(Wrong::Piece));
        }

        /// Each byte of the ballast is looked at, and how many there are.
        #[test]
        fn the_ballast_is_checked(n in 1u64..300, at: prop::sample::Index, length: bool) {
            let mut piece = pieces(&vec![(vec![], n, 1000)]).remove(0);
            let head = HEADER as usize + Update::FIXED;
            if length {
                piece[HEADER as usize + 31] ^= 1;
            } else {
                piece[head + at.index(n as usize)] ^= 1;
            }
            prop_assert_eq!(load(&[piece]).err(), Some(Wrong::Content));
        }

        #[test]
        fn noise_is_refused_or_taken(rounds in rounds(), at: prop::sample::Index, byte: prop::sample::Index, value: u8) {
            let mut pieces = pieces(&rounds);
            let at = at.index(pieces.len());
            let byte = byte.index(pieces[at].len());
            pieces[at][byte] = value;
            let _ = load(&pieces);
        }
    }
}
