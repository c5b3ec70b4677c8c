/** A sum whose terms have one sign, off by two roundings whatever their number (Kahan, Commun. ACM 8, 1965). */
export class CompensatedSum {
  #rest = 0;
  value = 0;

  /** @returns the sum so far. */
  add(term: number): number {
    const corrected = term - this.#rest;
    const next = this.value + corrected;
    this.#rest = next - this.value - corrected;
    this.value = next;
    return next;
  }
}
