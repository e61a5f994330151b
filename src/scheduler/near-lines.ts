/** Which queues could have a turn soon? A play of some starts needs no others, however many tenants wait. */
import type { StoredTag } from "./fair-share.ts";
import type { QueueName } from "./queue-name.ts";

/**
 * Those of the tenants with the lowest tags: each start is of one of them. Presets and BATCH are looked at by themselves, because
 * some may have turns while others have none.
 * @param count starts, and those who may come along
 */
export function nearLines<Line extends { readonly queue: QueueName }>(
  lines: readonly Line[],
  tags: readonly StoredTag[],
  count: number,
): readonly Line[] {
  if (lines.length <= count) return lines;
  const tagOf = new Map<string, number>();
  for (const { tenantId, userId, tag } of tags) if (userId === null) tagOf.set(tenantId, tag);
  const groups = new Map<string, Line[]>();
  for (const line of lines) {
    const name = `${line.queue.preset} ${line.queue.priority === "BATCH"}`;
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [line]);
    else group.push(line);
  }
  return [...groups.values()].flatMap((group) => {
    const tenants = [...new Set(group.map(({ queue }) => queue.tenantId))];
    if (tenants.length <= count) return group;
    const near = new Set(
      tenants.sort((a, b) => (tagOf.get(a) ?? 0) - (tagOf.get(b) ?? 0) || (a < b ? -1 : 1)).slice(0, count),
    );
    return group.filter(({ queue }) => near.has(queue.tenantId));
  });
}
