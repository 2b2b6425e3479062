import { describe, expect, it } from "vitest";
import { bytes, count, duration, percent, plural, rate, short, shortId } from "./format";

describe("figures", () => {
  it("groups thousands, and says when it does not know", () => {
    expect(count(1234567)).toBe("1,234,567");
    expect(count(null)).toBe("–");
  });

  it("never takes more than five characters for a rate's figure", () => {
    for (const value of [0, 0.4, 9.96, 99.6, 949, 999, 1000, 9949, 9951, 12_345, 999_499, 999_501, 12_000_000]) {
      expect(short(value).length, String(value)).toBeLessThanOrEqual(5);
    }
    expect(rate(1234)).toBe("1.2k/s");
    expect([short(12_345), short(999_501)]).toEqual(["12k", "1.0M"]);
  });

  it("gives durations the unit that people would", () => {
    expect([0, 0.84, 12.4, 999.4, 3400, 125_000, 3_660_000].map(duration)).toEqual([
      "0 ms", "0.8 ms", "12 ms", "999 ms", "3.4 s", "2 min 5 s", "1 h 1 min",
    ]);
  });

  it("says megabytes, shares and plurals", () => {
    expect(bytes(13_600_000)).toBe("14 MB");
    expect(bytes(0)).toBe("0 MB");
    expect(percent(0.05)).toBe("5 %");
    expect(percent(0.125)).toBe("12.5 %");
    expect([plural(1, "payment"), plural(2, "payment")]).toEqual(["1 payment", "2 payments"]);
  });

  it("shortens an id to both of its ends, as ids of one minute begin alike", () => {
    expect(shortId("019f89b6-de8c-48d8-9ae1-edabb610c616")).toBe("019f89b6…10c616");
    expect(shortId("march-bill")).toBe("march-bill");
  });
});
