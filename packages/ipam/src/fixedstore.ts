/** A pod by its name: what a fixed address stays with. */
export interface PodName {
  readonly namespace: string;
  readonly name: string;
}

/** The pod that has the addresses of a binding now. */
export interface Holder {
  readonly node: string;
  readonly podUid: string;
}

/** What a FixedAddress says: the addresses of a pod's name. */
export interface Binding {
  readonly pool?: string;
  readonly addresses?: readonly string[];
  /** What made the pod. */
  readonly owner?: { readonly kind: string; readonly name: string; readonly uid: string };
  /** Absent: nobody has them. */
  readonly holder?: Holder;
  /** RFC 3339; when the last holder gave them back. */
  readonly releasedAt?: string;
  /** Changes to make writes fail that were thought of before. */
  readonly fence?: string;
}

/** What an AddressClaim says: an address is taken. */
export interface Claim extends PodName {
  readonly address: string;
  /** Of the binding that has it. */
  readonly uid: string;
  readonly pool?: string;
  /** Changes whenever somebody relies on the claim anew. */
  readonly touched?: string;
}

/** An object as it was read: `version` changes with each write, `uid` when it is made anew. */
export interface Stored<T> {
  readonly value: T;
  readonly version: string;
  readonly uid: string;
}

/**
 * Where bindings and claims are kept. Reads are of the last write; a write that finds another version than the one it
 * was given does nothing. Failures of the store throw, and may have been done or not.
 */
export interface FixedStore {
  binding(pod: PodName): Promise<Stored<Binding> | undefined>;
  /** Undefined: there is one already. */
  createBinding(pod: PodName, value: Binding): Promise<Stored<Binding> | undefined>;
  updateBinding(pod: PodName, before: Stored<Binding>, value: Binding): Promise<boolean>;
  deleteBinding(pod: PodName, before: Stored<Binding>): Promise<boolean>;
  claim(address: string): Promise<Stored<Claim> | undefined>;
  /** False: the address is claimed already. */
  createClaim(value: Claim): Promise<boolean>;
  updateClaim(before: Stored<Claim>, value: Claim): Promise<boolean>;
  deleteClaim(before: Stored<Claim>): Promise<boolean>;
  /** All claims of a pool. */
  claims(pool: string): Promise<readonly Claim[]>;
}
