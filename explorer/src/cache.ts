/** A cache that forgets what was not used for longest: the pictures of a few layers stay, not those of all. */
export class Cache<T> {
  private readonly kept = new Map<string, T>();

  constructor(private readonly size: number) {}

  get(key: string, make: () => T): T {
    const found = this.kept.has(key) ? this.kept.get(key)! : make();
    this.kept.delete(key);
    if (this.kept.size >= this.size) this.kept.delete(this.kept.keys().next().value!);
    this.kept.set(key, found);
    return found;
  }
}
