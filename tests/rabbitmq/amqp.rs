//! As much of a client of AMQP 0-9-1 as the test needs: one connection with one channel, and each call waits for its answer.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const FRAME_END: u8 = 0xCE;

/// Class and method.
type Method = (u16, u16);

const CONNECTION_START: Method = (10, 10);
const CONNECTION_START_OK: Method = (10, 11);
const CONNECTION_TUNE: Method = (10, 30);
const CONNECTION_TUNE_OK: Method = (10, 31);
const CONNECTION_OPEN: Method = (10, 40);
const CONNECTION_OPEN_OK: Method = (10, 41);
const CHANNEL_OPEN: Method = (20, 10);
const CHANNEL_OPEN_OK: Method = (20, 11);
const EXCHANGE_DECLARE: Method = (40, 10);
const EXCHANGE_DECLARE_OK: Method = (40, 11);
const EXCHANGE_DELETE: Method = (40, 20);
const EXCHANGE_DELETE_OK: Method = (40, 21);
const QUEUE_DECLARE: Method = (50, 10);
const QUEUE_DECLARE_OK: Method = (50, 11);
const QUEUE_BIND: Method = (50, 20);
const QUEUE_BIND_OK: Method = (50, 21);
const QUEUE_DELETE: Method = (50, 40);
const QUEUE_DELETE_OK: Method = (50, 41);
const QUEUE_UNBIND: Method = (50, 50);
const QUEUE_UNBIND_OK: Method = (50, 51);
const BASIC_PUBLISH: Method = (60, 40);
const BASIC_GET: Method = (60, 70);
const BASIC_GET_OK: Method = (60, 71);
const BASIC_GET_EMPTY: Method = (60, 72);
const BASIC_ACK: Method = (60, 80);
const CONFIRM_SELECT: Method = (85, 10);
const CONFIRM_SELECT_OK: Method = (85, 11);

/// The arguments of a method, in the encoding of AMQP.
#[derive(Default)]
struct Arguments(Vec<u8>);

impl Arguments {
    fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    fn short(mut self, number: u16) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn long(mut self, number: u32) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn short_text(mut self, text: &str) -> Self {
        self.0.push(u8::try_from(text.len()).expect("at most 255 bytes"));
        self.0.extend(text.as_bytes());
        self
    }

    fn long_text(self, text: &[u8]) -> Self {
        let mut longer = self.long(text.len() as u32);
        longer.0.extend(text);
        longer
    }

    /// A table of texts.
    fn table(self, entries: &[(String, String)]) -> Self {
        let add = |table: Self, (name, value): &(String, String)| {
            table.short_text(name).byte(b'S').long_text(value.as_bytes())
        };
        let table = entries.iter().fold(Self::default(), add);
        self.long_text(&table.0)
    }
}

pub struct Channel {
    stream: TcpStream,
    channel: u16,
    /// How many messages were published.
    published: u64,
    /// The numbers of those that the server has not confirmed.
    unconfirmed: BTreeSet<u64>,
}

impl Channel {
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut opened = Self { stream, channel: 0, published: 0, unconfirmed: BTreeSet::new() };
        opened.stream.write_all(b"AMQP\x00\x00\x09\x01").unwrap();
        opened.wait_for(CONNECTION_START);
        let log_in =
            Arguments::default().table(&[]).short_text("PLAIN").long_text(b"\0guest\0guest").short_text("en_US");
        opened.send(CONNECTION_START_OK, log_in);
        opened.wait_for(CONNECTION_TUNE);
        opened.send(CONNECTION_TUNE_OK, Arguments::default().short(1).long(131_072).short(0));
        opened.call(CONNECTION_OPEN, Arguments::default().short_text("/").short_text("").byte(0), CONNECTION_OPEN_OK);
        opened.channel = 1;
        opened.call(CHANNEL_OPEN, Arguments::default().short_text(""), CHANNEL_OPEN_OK);
        opened.call(CONFIRM_SELECT, Arguments::default().byte(0), CONFIRM_SELECT_OK);
        opened
    }

    pub fn declare_exchange(&mut self, name: &str, kind: &str) {
        let declared = Arguments::default().short(0).short_text(name).short_text(kind).byte(0).table(&[]);
        self.call(EXCHANGE_DECLARE, declared, EXCHANGE_DECLARE_OK);
    }

    pub fn delete_exchange(&mut self, name: &str) {
        self.call(EXCHANGE_DELETE, Arguments::default().short(0).short_text(name).byte(0), EXCHANGE_DELETE_OK);
    }

    pub fn declare_queue(&mut self, name: &str) {
        self.call(QUEUE_DECLARE, Arguments::default().short(0).short_text(name).byte(0).table(&[]), QUEUE_DECLARE_OK);
    }

    pub fn delete_queue(&mut self, name: &str) {
        self.call(QUEUE_DELETE, Arguments::default().short(0).short_text(name).byte(0), QUEUE_DELETE_OK);
    }

    pub fn bind(&mut self, queue: &str, exchange: &str, key: &str, arguments: &[(String, String)]) {
        let bound = Arguments::default().short(0).short_text(queue).short_text(exchange).short_text(key).byte(0);
        self.call(QUEUE_BIND, bound.table(arguments), QUEUE_BIND_OK);
    }

    pub fn unbind(&mut self, queue: &str, exchange: &str, key: &str) {
        let unbound = Arguments::default().short(0).short_text(queue).short_text(exchange).short_text(key).table(&[]);
        self.call(QUEUE_UNBIND, unbound, QUEUE_UNBIND_OK);
    }

    /// Publishes a message. [`Self::wait_for_confirms`] waits until the server has it.
    pub fn publish(&mut self, exchange: &str, key: &str, headers: &[(String, String)], body: &[u8]) {
        self.send(BASIC_PUBLISH, Arguments::default().short(0).short_text(exchange).short_text(key).byte(0));
        let mut header = Arguments::default().short(60).short(0).0;
        header.extend((body.len() as u64).to_be_bytes());
        // Of its properties it has only headers.
        header.extend(Arguments::default().short(0x2000).table(headers).0);
        self.frame(HEADER, &header);
        self.frame(BODY, body);
        self.published += 1;
        self.unconfirmed.insert(self.published);
    }

    /// Waits until all messages are confirmed.
    pub fn wait_for_confirms(&mut self) {
        while !self.unconfirmed.is_empty() {
            let (kind, payload) = self.read_frame();
            assert!(kind == METHOD && self.is_confirm(&payload), "a confirm is expected");
        }
    }

    /// Takes the next message of a queue.
    pub fn get(&mut self, queue: &str) -> Option<Vec<u8>> {
        self.send(BASIC_GET, Arguments::default().short(0).short_text(queue).byte(1));
        let method = self.next_method();
        if method == BASIC_GET_EMPTY {
            return None;
        }
        assert_eq!(method, BASIC_GET_OK);
        let (kind, header) = self.read_frame();
        assert_eq!(kind, HEADER);
        let length = u64::from_be_bytes(header[4..12].try_into().unwrap());
        let mut body = Vec::new();
        while (body.len() as u64) < length {
            body.extend(self.read_frame().1);
        }
        Some(body)
    }

    fn call(&mut self, method: Method, arguments: Arguments, answer: Method) {
        self.send(method, arguments);
        self.wait_for(answer);
    }

    fn send(&mut self, (class, method): Method, arguments: Arguments) {
        let mut payload = Arguments::default().short(class).short(method).0;
        payload.extend(arguments.0);
        self.frame(METHOD, &payload);
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) {
        let mut frame = Arguments::default().byte(kind).short(self.channel).long_text(payload).0;
        frame.push(FRAME_END);
        self.stream.write_all(&frame).unwrap();
    }

    fn wait_for(&mut self, expected: Method) {
        let found = self.next_method();
        assert_eq!(found, expected, "the server has answered with another method");
    }

    fn next_method(&mut self) -> Method {
        loop {
            let (kind, payload) = self.read_frame();
            if kind == METHOD && !self.is_confirm(&payload) {
                return method_of(&payload);
            }
        }
    }

    /// Notes a confirm. One can stand for all messages up to its number.
    fn is_confirm(&mut self, payload: &[u8]) -> bool {
        if method_of(payload) != BASIC_ACK {
            return false;
        }
        let number = u64::from_be_bytes(payload[4..12].try_into().unwrap());
        match payload[12] & 1 {
            0 => drop(self.unconfirmed.remove(&number)),
            _ => self.unconfirmed = self.unconfirmed.split_off(&(number + 1)),
        }
        true
    }

    fn read_frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 7];
        self.stream.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes(head[3..].try_into().unwrap());
        let mut payload = vec![0; length as usize + 1];
        self.stream.read_exact(&mut payload).unwrap();
        assert_eq!(payload.pop(), Some(FRAME_END));
        (head[0], payload)
    }
}

fn method_of(payload: &[u8]) -> Method {
    let number = |at: usize| u16::from_be_bytes(payload[at..at + 2].try_into().unwrap());
    (number(0), number(2))
}
