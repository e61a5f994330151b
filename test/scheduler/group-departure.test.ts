import { expect, test } from "vitest";
import { GroupDeparture } from "../../src/scheduler/group-departure.ts";

test("attempts of a group are sent when the last one is ready, and without those that failed to be", async () => {
  const departure = new GroupDeparture(3);
  const sent: string[] = [];
  const member = async (name: string, prepare: () => Promise<string>) => {
    const { prepared, group } = await departure.prepare(prepare);
    expect([prepared, group]).toEqual([name, { id: departure.id, size: 2 }]);
    sent.push(name);
  };
  let finishLast: (name: string) => void = () => {};
  const slow = new Promise<string>((resolve) => {
    finishLast = resolve;
  });
  const first = member("a", async () => "a");
  await expect(member("b", () => Promise.reject(new Error("its source is gone")))).rejects.toThrow(
    "its source is gone",
  );
  expect(sent).toEqual([]);
  const last = member("c", () => slow);
  finishLast("c");
  await Promise.all([first, last]);
  expect(sent.sort()).toEqual(["a", "c"]);
});
