export interface Lru<V> {
  readonly get: (key: string) => V | undefined;
  readonly set: (key: string, value: V) => void;
  readonly values: () => Iterable<V>;
}

/** At most `max` entries; the one not asked for the longest (since it was half full) goes first, and `onEvict` gets it. */
export function makeLru<V>(max: number, onEvict?: (value: V) => void): Lru<V> {
  const entries = new Map<string, V>();

  function get(key: string): V | undefined {
    const value = entries.get(key);
    if (value === undefined || entries.size * 2 <= max) return value; // far from full, nobody asks for the order
    entries.delete(key); // a Map keeps the order of insertion: the oldest entry stays in front
    entries.set(key, value);
    return value;
  }

  function set(key: string, value: V): void {
    entries.delete(key);
    entries.set(key, value);
    if (entries.size <= max) return;
    for (const [oldest, evicted] of entries) {
      entries.delete(oldest);
      onEvict?.(evicted);
      return;
    }
  }

  return { get, set, values: () => entries.values() };
}
