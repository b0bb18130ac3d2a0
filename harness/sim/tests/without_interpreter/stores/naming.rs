//! Turns accesses at addresses into stores by name.
//!
//! The fields of a frame are written before it is known that there is a frame. That is only known once it is on the
//! chain of the current frame. Accesses are therefore named at the end. An address may hold several frames one after
//! the other. Each of these *lives* gets the name that it had while it was on the chain.

use std::collections::HashMap;
use std::sync::Arc;

use framewalk::memory::Address;

use super::recorder::{Entry, Link, Offsets, StoreRecorder, WordKind};
use super::{Code, FrameName, GeneratorState, Store};

/// The number of a frame's life.
type Life = usize;

/// A store whose frames have no names yet.
enum Draft {
    AnchorLoaded,
    CurrentFrame(Option<Life>, Address),
    Anchor(Option<Life>, Address),
    SequenceIncremented,
    Sequence(u64),
    Chunk(usize),
    Previous(Life, Option<Life>, Address),
    Executable(Life, u64),
    Instruction(Life),
    Owner(Life, u8),
    State(Life, u8),
    /// A store that was removed again.
    Nothing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// There is no frame.
    Absent,
    /// The frame is being created, or was created and never got onto the chain.
    Unseen,
    /// The frame is on the chain.
    Linked,
    /// The frame was on the chain and has left it.
    Left,
}

struct Slot {
    kind: WordKind,
    stage: Stage,
    life: Life,
}

pub(crate) struct Naming<'a> {
    recorder: &'a StoreRecorder,
    slots: HashMap<Address, Slot>,
    /// The name of each life; `None` until it is seen on a chain.
    names: Vec<Option<FrameName>>,
    /// Function names by code, for frames that never get onto the chain.
    functions: HashMap<u64, (WordKind, Arc<str>)>,
    last_code: HashMap<Life, u64>,
    current: Address,
    sequence: u64,
    chunks: Vec<Address>,
    stores: Vec<Draft>,
}

impl<'a> Naming<'a> {
    /// The stores of a record, in order.
    pub(crate) fn of(recorder: &'a StoreRecorder) -> Vec<Store> {
        let mut naming = Self::new(recorder);
        for entry in &recorder.entries {
            match entry {
                Entry::AnchorLoaded => naming.stores.push(Draft::AnchorLoaded),
                Entry::Chain(chain) => naming.chain(chain),
                &Entry::Stored { address, value, size } => naming.stored(address, value, size),
            }
        }
        naming.done()
    }

    fn new(recorder: &'a StoreRecorder) -> Self {
        let mut slots = HashMap::new();
        let mut functions = HashMap::new();
        for entry in &recorder.entries {
            let Entry::Chain(chain) = entry else { continue };
            for link in chain {
                slots.entry(link.address).or_insert(Slot { kind: link.kind, stage: Stage::Absent, life: 0 });
                functions.insert(link.executable, (link.kind, Arc::clone(&link.function)));
            }
        }
        Self {
            recorder,
            slots,
            names: vec![None],
            functions,
            last_code: HashMap::new(),
            current: 0,
            sequence: recorder.sequence,
            chunks: vec![recorder.chunk],
            stores: Vec::new(),
        }
    }

    /// Begins a new life at a slot.
    fn begin(names: &mut Vec<Option<FrameName>>, slot: &mut Slot, stage: Stage) -> Life {
        names.push(None);
        slot.stage = stage;
        slot.life = names.len() - 1;
        slot.life
    }

    fn life_at(&self, address: Address) -> Option<Life> {
        self.slots.get(&address).filter(|slot| slot.stage != Stage::Absent).map(|slot| slot.life)
    }

    fn chain(&mut self, chain: &[Link]) {
        for (address, slot) in &mut self.slots {
            if slot.stage == Stage::Linked && !chain.iter().any(|link| link.address == *address) {
                // The C stack is reused at once.
                slot.stage = if slot.kind == WordKind::Shim { Stage::Absent } else { Stage::Left };
            }
        }
        for (position, link) in chain.iter().enumerate() {
            let Some(slot) = self.slots.get_mut(&link.address) else { continue };
            if slot.stage == Stage::Absent {
                Self::begin(&mut self.names, slot, Stage::Linked);
            }
            slot.stage = Stage::Linked;
            let caller = chain.get(position + 1).map_or_else(|| "".into(), |caller| Arc::clone(&caller.function));
            let name = match link.kind {
                WordKind::Stack => FrameName::Stack(Arc::clone(&link.function)),
                WordKind::Generator => FrameName::Generator(Arc::clone(&link.function)),
                WordKind::Shim => FrameName::Shim(caller),
                WordKind::Base => FrameName::Base,
            };
            if let Some(slot) = self.names.get_mut(slot.life) {
                *slot = Some(name);
            }
        }
        self.current = chain.first().map_or(0, |leaf| leaf.address);
    }

    fn stored(&mut self, address: Address, value: u64, size: usize) {
        let offsets = &self.recorder.offsets;
        let draft = match address.wrapping_sub(self.recorder.thread) {
            field if field == offsets.thread.current_frame => Draft::CurrentFrame(self.life_at(value), value),
            field if field == offsets.cache.anchor => Draft::Anchor(self.life_at(value), value),
            field if field == offsets.cache.sequence => {
                let incremented = value == self.sequence.wrapping_add(1);
                self.sequence = value;
                if incremented { Draft::SequenceIncremented } else { Draft::Sequence(value) }
            }
            field if field == offsets.thread.datastack_chunk => {
                let known = self.chunks.iter().position(|&chunk| chunk == value);
                Draft::Chunk(known.unwrap_or_else(|| {
                    self.chunks.push(value);
                    self.chunks.len() - 1
                }))
            }
            _ => return self.stored_to_frame(address, value, size),
        };
        self.stores.push(draft);
    }

    fn stored_to_frame(&mut self, address: Address, value: u64, size: usize) {
        let Offsets { frame, generator, .. } = self.recorder.offsets;
        let state = generator.frame.wrapping_sub(generator.state);
        let (at, word) = if self.is_slot(address.wrapping_sub(frame.executable)) && size == 8 {
            (address.wrapping_sub(frame.executable), Word::Executable)
        } else if self.is_slot(address.wrapping_sub(frame.previous)) && size == 8 {
            (address.wrapping_sub(frame.previous), Word::Previous)
        } else if self.is_slot(address.wrapping_sub(frame.instr_ptr)) && size == 8 {
            (address.wrapping_sub(frame.instr_ptr), Word::Instruction)
        } else if let Some(shift) =
            (0..size as u64).find(|shift| self.is_slot(address.wrapping_add(*shift).wrapping_sub(frame.owner)))
        {
            (
                address.wrapping_add(shift).wrapping_sub(frame.owner),
                Word::Owner((value >> (8 * shift)).to_le_bytes()[0]),
            )
        } else if self.is_slot(address.wrapping_add(state)) && size == 1 {
            (address.wrapping_add(state), Word::State(value.to_le_bytes()[0]))
        } else {
            return;
        };
        self.stored_word(at, word, value);
    }

    fn is_slot(&self, address: Address) -> bool {
        self.slots.contains_key(&address)
    }

    fn stored_word(&mut self, at: Address, word: Word, value: u64) {
        let null = value & !self.recorder.offsets.frame.tag_mask == 0;
        let Some(slot) = self.slots.get_mut(&at) else { return };
        let clears = word == Word::Executable && null;
        let begins = match (slot.kind, slot.stage) {
            // Values stored here earlier do not belong to a frame. With this store, the frame is created or resumed for
            // the first time.
            (WordKind::Generator, Stage::Absent) if matches!(word, Word::State(4 | 5)) => true,
            (WordKind::Generator, Stage::Absent) => return,
            (WordKind::Generator, _) => false,
            (_, Stage::Absent) if clears => return,
            (_, Stage::Absent) => true,
            (WordKind::Shim, Stage::Unseen) => word == Word::Executable,
            // RETURN_GENERATOR leaves the frame without clearing anything.
            (_, Stage::Left) => !clears,
            _ => false,
        };
        if begins {
            if slot.kind == WordKind::Shim && slot.stage == Stage::Unseen {
                forget(&mut self.stores, slot.life);
            }
            Self::begin(&mut self.names, slot, Stage::Unseen);
        }
        let life = slot.life;
        if clears {
            slot.stage = Stage::Absent;
        }
        let draft = match word {
            Word::Executable => {
                if !null {
                    self.last_code.insert(life, value);
                }
                Draft::Executable(life, value)
            }
            Word::Previous => Draft::Previous(life, self.life_at(value), value),
            Word::Instruction if at == self.current => return,
            Word::Instruction => Draft::Instruction(life),
            Word::Owner(owner) => Draft::Owner(life, owner),
            Word::State(state) => Draft::State(life, state),
        };
        self.stores.push(draft);
    }

    /// The name of a life, or of an address that had no life at the time of the store: a shim frame is stored before it
    /// is created.
    fn place(&self, life: Option<Life>, address: Address) -> FrameName {
        if address == 0 {
            return FrameName::Null;
        }
        let life = life.or_else(|| self.slots.get(&address).map(|slot| slot.life));
        let named = life.and_then(|life| self.names.get(life)?.clone());
        named.or_else(|| self.by_code(life?)).unwrap_or(FrameName::Elsewhere)
    }

    fn by_code(&self, life: Life) -> Option<FrameName> {
        let (_, function) = self.functions.get(self.last_code.get(&life)?)?;
        Some(FrameName::Stack(Arc::clone(function)))
    }

    fn done(self) -> Vec<Store> {
        let of = |life: Life| self.place(Some(life), Address::MAX);
        let named = self.stores.iter().filter_map(|draft| {
            Some(match *draft {
                Draft::Nothing => return None,
                Draft::AnchorLoaded => Store::AnchorLoaded,
                Draft::CurrentFrame(life, address) => Store::CurrentFrame(self.place(life, address)),
                Draft::Anchor(life, address) => Store::Anchor(self.place(life, address)),
                Draft::SequenceIncremented => Store::SequenceIncremented,
                Draft::Sequence(value) => Store::Sequence(value),
                Draft::Chunk(number) => Store::Chunk(number),
                Draft::Previous(life, caller, address) => Store::Previous(of(life), self.place(caller, address)),
                Draft::Executable(life, value) => Store::Executable(of(life), self.code(value)),
                Draft::Instruction(life) => Store::Instruction(of(life)),
                Draft::Owner(life, owner) => Store::Owner(of(life), owner),
                Draft::State(life, state) => Store::State(of(life), GeneratorState::from(state)),
            })
        });
        // Memory that never became a frame is left out.
        named.filter(|store| store.frame() != Some(&FrameName::Elsewhere)).collect()
    }

    fn code(&self, value: u64) -> Code {
        match self.functions.get(&value) {
            _ if value & !self.recorder.offsets.frame.tag_mask == 0 => Code::Null,
            Some((WordKind::Stack | WordKind::Generator, _)) => Code::Function,
            _ => Code::Other,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Executable,
    Previous,
    Instruction,
    Owner(u8),
    State(u8),
}

/// Removes the stores to a life.
fn forget(stores: &mut [Draft], life: Life) {
    for draft in stores {
        if let Draft::Previous(of, ..)
        | Draft::Executable(of, _)
        | Draft::Instruction(of)
        | Draft::Owner(of, _)
        | Draft::State(of, _) = *draft
            && of == life
        {
            *draft = Draft::Nothing;
        }
    }
}
