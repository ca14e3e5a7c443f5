import { AxonError } from "@axoneme/base";

/**
 * Reading of DNS messages (RFC 1035 4.1), of what the proxy has to know only: the question, and the addresses of an
 * answer. Messages come from pods and from servers anywhere. A reader looks at every byte a bounded number
 * of times, keeps nothing, and throws nothing but `dns.message`.
 */

const HEADER = 12;
/** RFC 1035 4.2.1: also what a length prefix over TCP can say. */
export const MAX_MESSAGE = 0xffff;
/** Characters of names read for one message: a chain of pointers in each of thousands of records would cost more. */
const MAX_NAME_WORK = 64 * 1024;
const MAX_WIRE_NAME = 255;

export const TYPE_A = 1;
const TYPE_CNAME = 5;
export const TYPE_AAAA = 28;
const CLASS_IN = 1;

export const RCODE = { noError: 0, formErr: 1, servFail: 2, nameError: 3, notImp: 4, refused: 5 } as const;

const TYPE_NAMES: Readonly<Record<number, string>> = {
  1: "A",
  2: "NS",
  5: "CNAME",
  6: "SOA",
  12: "PTR",
  15: "MX",
  16: "TXT",
  28: "AAAA",
  33: "SRV",
  35: "NAPTR",
  39: "DNAME",
  41: "OPT",
  43: "DS",
  46: "RRSIG",
  47: "NSEC",
  48: "DNSKEY",
  64: "SVCB",
  65: "HTTPS",
  251: "IXFR",
  252: "AXFR",
  255: "ANY",
  257: "CAA",
};

/** The name of a record type, `TYPE1234` (RFC 3597) when it has none here. */
export function typeName(type: number): string {
  return TYPE_NAMES[type] ?? `TYPE${type}`;
}

/** A byte of a label as text (RFC 1035 5.1): lower case, escaped when it is a dot, a backslash or not printable. */
function escaped(byte: number): string {
  if (byte === 0x2e || byte === 0x5c) return `\\${String.fromCharCode(byte)}`;
  if (byte <= 0x20 || byte >= 0x7f) return `\\${String(byte).padStart(3, "0")}`;
  return String.fromCharCode(byte).toLowerCase();
}

/** What each byte is as text, 0 where it needs an escape. */
const PLAIN = Uint8Array.from({ length: 256 }, (_, byte) => {
  const text = escaped(byte);
  return text.length === 1 ? text.charCodeAt(0) : 0;
});
/** The text of the name being read: escapes make four characters of a byte. */
const text = new Uint8Array(MAX_WIRE_NAME * 4);

/** Views of its beginning, by length: a new one for each name would be most of what a name costs. */
const beginnings: Uint8Array[] = [];

function textOf(length: number): string {
  if (length === 0) return ".";
  let beginning = beginnings[length];
  if (beginning === undefined) {
    beginning = text.subarray(0, length);
    beginnings[length] = beginning;
  }
  return String.fromCharCode.apply(null, beginning as unknown as number[]);
}

function malformed(why: string): AxonError {
  return new AxonError("dns.message", `DNS message: ${why}`);
}

function u16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

function u32(bytes: Uint8Array, at: number): number {
  return u16(bytes, at) * 0x10000 + u16(bytes, at + 2);
}

/** Appends a byte's text; returns where the next goes. */
function write(byte: number, at: number): number {
  const plain = PLAIN[byte] ?? 0;
  if (plain !== 0) {
    text[at] = plain;
    return at + 1;
  }
  const long = escaped(byte);
  for (let i = 0; i < long.length; i++) text[at + i] = long.charCodeAt(i);
  return at + long.length;
}

/** Walks one message. `at` is where the next thing is read. */
class Cursor {
  readonly bytes: Uint8Array;
  at: number;
  private work = 0;

  constructor(bytes: Uint8Array, at: number) {
    this.bytes = bytes;
    this.at = at;
  }

  need(length: number): void {
    if (this.at + length > this.bytes.length) throw malformed("ends too early");
  }

  /** A name: lower case with the final dot. Pointers lead back only, so that none is followed twice. */
  name(): string {
    const { bytes } = this;
    let written = 0;
    let wire = 1;
    let at = this.at;
    let limit = at;
    let followed = false;
    for (;;) {
      const length = bytes[at];
      if (length === undefined) throw malformed("a name ends too early");
      if (length === 0) break;
      if (length >= 0xc0) {
        const target = u16(bytes, at) & 0x3fff;
        if (at + 1 >= bytes.length || target >= limit) throw malformed("a pointer that leads nowhere");
        if (!followed) this.at = at + 2;
        followed = true;
        limit = target;
        at = target;
        continue;
      }
      if (length > 63) throw malformed("a label of an unknown kind");
      wire += length + 1;
      this.work += length + 1;
      if (wire > MAX_WIRE_NAME) throw malformed(`a name longer than ${MAX_WIRE_NAME} bytes`);
      if (this.work > MAX_NAME_WORK) throw malformed("too many names");
      if (at + length >= bytes.length) throw malformed("a name ends too early");
      for (let i = at + 1; i <= at + length; i++) written = write(bytes[i] ?? 0, written);
      text[written++] = 0x2e;
      at += length + 1;
    }
    if (!followed) this.at = at + 1;
    return textOf(written);
  }
}

export interface Query {
  id: number;
  /** Of the header; 0 is a standard query. */
  opcode: number;
  /** Lower case with the final dot, escapes for what is not printable. */
  name: string;
  type: number;
  class: number;
  /** Where the question ends: header and question are the bytes before. */
  end: number;
}

function readHeader(bytes: Uint8Array, response: boolean): Cursor {
  if (bytes.length < HEADER) throw malformed("shorter than its header");
  if (bytes.length > MAX_MESSAGE) throw malformed(`longer than ${MAX_MESSAGE} bytes`);
  if ((bytes[2] ?? 0) >= 0x80 !== response) throw malformed(response ? "not an answer" : "not a query");
  return new Cursor(bytes, HEADER);
}

function readQuestion(cursor: Cursor): Query {
  const { bytes } = cursor;
  if (u16(bytes, 4) !== 1) throw malformed(`${u16(bytes, 4)} questions`);
  const name = cursor.name();
  cursor.need(4);
  const at = cursor.at;
  cursor.at += 4;
  return {
    id: u16(bytes, 0),
    opcode: ((bytes[2] ?? 0) >> 3) & 15,
    name,
    type: u16(bytes, at),
    class: u16(bytes, at + 2),
    end: at + 4,
  };
}

/** Reads a query with its one question. Throws `dns.message`. */
export function readQuery(bytes: Uint8Array): Query {
  return readQuestion(readHeader(bytes, false));
}

export interface AnswerHead {
  id: number;
  rcode: number;
  truncated: boolean;
  /** Absent where a server complains of a message it could not read, which has no records either. */
  question?: Query;
}

/** Reads what an answer answers. Throws `dns.message`. */
export function readAnswerHead(bytes: Uint8Array): AnswerHead {
  const cursor = readHeader(bytes, true);
  const head: AnswerHead = {
    id: u16(bytes, 0),
    rcode: (bytes[3] ?? 0) & 15,
    truncated: ((bytes[2] ?? 0) & 2) !== 0,
  };
  if (u16(bytes, 4) === 0 && u16(bytes, 6) === 0 && head.rcode !== 0) return head;
  head.question = readQuestion(cursor);
  return head;
}

interface Alias {
  target: string;
  ttl: number;
}

interface AddressRecord {
  ip: string;
  ttl: number;
}

export interface Learned {
  /** From what the asked name is an alias for to the owner of the addresses; empty without aliases. */
  cnames: string[];
  /** Each address once. `ttl` is the least of the chain to it, seconds. */
  addresses: AddressRecord[];
}

/** RFC 2181 8: a TTL with the highest bit is none. */
function ttlOf(bytes: Uint8Array, at: number): number {
  const ttl = u32(bytes, at);
  return ttl > 0x7fffffff ? 0 : ttl;
}

function ip4(bytes: Uint8Array, at: number): string {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}

/** Groups in full: the reader compares addresses, people see what the agent prints. */
function ip6(bytes: Uint8Array, at: number): string {
  let text = u16(bytes, at).toString(16);
  for (let i = 2; i < 16; i += 2) text += `:${u16(bytes, at + i).toString(16)}`;
  return text;
}

interface OwnedAddress extends AddressRecord {
  readonly owner: string;
}

/** The records of the answer section that are of interest. Each is read once. */
class Records {
  readonly addresses: OwnedAddress[] = [];
  aliases: Map<string, Alias> | undefined;

  /** Reads the record at the cursor. A pointer to the question's name, which most owners are, is not followed. */
  read(cursor: Cursor, question: Query): void {
    const { bytes } = cursor;
    const isAsked = bytes[cursor.at] === 0xc0 && bytes[cursor.at + 1] === HEADER;
    if (isAsked) cursor.at += 2;
    const owner = isAsked ? question.name : cursor.name();
    cursor.need(10);
    const { at } = cursor;
    const type = u16(bytes, at);
    const ttl = ttlOf(bytes, at + 4);
    const length = u16(bytes, at + 8);
    cursor.at = at + 10;
    cursor.need(length);
    const data = cursor.at;
    if (u16(bytes, at + 2) === CLASS_IN) {
      if (type === TYPE_CNAME) this.alias(owner, cursor, ttl, data + length);
      else if (type === TYPE_A || type === TYPE_AAAA) {
        if (length !== (type === TYPE_A ? 4 : 16)) throw malformed(`an address of ${length} bytes`);
        this.addresses.push({ owner, ip: type === TYPE_A ? ip4(bytes, data) : ip6(bytes, data), ttl });
      }
    }
    cursor.at = data + length;
  }

  private alias(owner: string, cursor: Cursor, ttl: number, end: number): void {
    const target = cursor.name();
    if (cursor.at !== end) throw malformed("an alias of another length than said");
    this.aliases ??= new Map();
    if (!this.aliases.has(owner)) this.aliases.set(owner, { target, ttl });
  }
}

/**
 * The addresses that an answer gives to its question's name, along aliases in whatever order the records are.
 * Records of other owners say nothing about the name and are left out. Throws `dns.message`.
 */
export function readAddresses(bytes: Uint8Array, question: Query): Learned {
  const cursor = readHeader(bytes, true);
  cursor.at = question.end;
  const records = new Records();
  for (let left = u16(bytes, 6); left > 0; left--) records.read(cursor, question);
  const [only] = records.addresses;
  if (only === undefined && records.aliases === undefined) return { cnames: [], addresses: [] };
  // most answers are one address of the very name
  if (records.addresses.length === 1 && records.aliases === undefined && only?.owner === question.name)
    return { cnames: [], addresses: [{ ip: only.ip, ttl: only.ttl }] };
  const { cnames, least } = chain(question.name, records.aliases);
  const found = new Map<string, AddressRecord>();
  for (const { owner, ip, ttl } of records.addresses) {
    const most = least.get(owner);
    if (most === undefined) continue;
    const known = found.get(ip);
    if (known === undefined) found.set(ip, { ip, ttl: Math.min(ttl, most) });
    else known.ttl = Math.min(known.ttl, ttl, most);
  }
  return { cnames, addresses: [...found.values()] };
}

/** The names from the asked one on, and of each the least TTL of the aliases that lead to it. */
function chain(
  asked: string,
  aliases: ReadonlyMap<string, Alias> | undefined,
): { cnames: string[]; least: Map<string, number> } {
  const cnames: string[] = [];
  let ttl = 0x7fffffff;
  const least = new Map([[asked, ttl]]);
  let alias = aliases?.get(asked);
  while (alias !== undefined && !least.has(alias.target)) {
    ttl = Math.min(ttl, alias.ttl);
    least.set(alias.target, ttl);
    cnames.push(alias.target);
    alias = aliases?.get(alias.target);
  }
  return { cnames, least };
}

/** An answer without records to this query: its header and question, with `rcode`. EDNS is left out (RFC 6891 7). */
export function answerWithout(query: Uint8Array, end: number, rcode: number): Uint8Array {
  const answer = query.slice(0, end);
  answer[2] = 0x80 | ((query[2] ?? 0) & 0x79);
  answer[3] = 0x80 | rcode;
  answer[4] = 0;
  answer[5] = end > HEADER ? 1 : 0;
  answer.fill(0, 6, HEADER);
  return answer;
}
