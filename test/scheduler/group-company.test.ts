import { expect, test } from "vitest";
import { GroupCompany, type SharedFailure } from "../../src/scheduler/group-company.ts";

const companyOf = (...ids: string[]): GroupCompany => {
  const company = new GroupCompany();
  for (const id of ids) company.enter(id);
  return company;
};
const ALONE: Partial<SharedFailure> = { hadCompany: false, suspicion: null, isKnown: false };

test("a failure alone is one's own", () => {
  expect(companyOf("a").failed("a")).toEqual({ ...ALONE, suspects: ["a"] });
});

test("a failure in company is shared by half of it", () => {
  const company = companyOf("a", "b", "c", "d");
  const failures = ["a", "b", "c", "d"].map((id) => company.failed(id));
  const [a, b, c, d] = failures.map(({ suspicion }) => suspicion);
  expect(a).toBe(b);
  expect(c).toBe(d);
  expect(new Set([a, c, null]).size).toBe(3);
  for (const failure of failures) expect(failure).toMatchObject({ hadCompany: true, suspects: ["a", "b", "c", "d"] });
  expect(failures.map(({ isKnown }) => isKnown)).toEqual([false, true, true, true]);
});

test("a half of one is alone", () => {
  const company = companyOf("a", "b", "c");
  const [a, b, c] = ["a", "b", "c"].map((id) => company.failed(id).suspicion);
  expect([a === b, a === null, c]).toEqual([true, false, null]);
});

test("who had ended when the worker failed is no suspect", () => {
  const company = companyOf("a", "b");
  company.leave("a");
  expect(company.failed("b")).toEqual({ ...ALONE, suspects: ["b"] });
});

test("who ends later is told the same as the others", () => {
  const company = companyOf("a", "b", "c", "d");
  const first = company.failed("a");
  company.leave("a");
  expect(company.failed("b")).toEqual({ ...first, isKnown: true });
});
