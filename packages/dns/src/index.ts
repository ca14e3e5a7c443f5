export { type CacheChange, type CacheEntry, type CacheLimits, DnsCache, type NamedAddress } from "./cache.ts";
export { NameIndex, type NameSelector, normalizeName, normalizePattern } from "./names.ts";
export {
  type AckMessage,
  type AgentMessage,
  type AnswerMessage,
  type ConfigMessage,
  type DropMessage,
  type Exchange,
  encodeLine,
  type HelloMessage,
  type LearnedAddress,
  LineReader,
  MAX_LINE,
  MAX_RULES_ID,
  PROTOCOL_VERSION,
  type ProxyMessage,
  type QueryMessage,
  type RulesMessage,
  type SyncedMessage,
  type WelcomeMessage,
} from "./protocol.ts";
