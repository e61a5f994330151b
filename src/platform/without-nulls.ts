/** GraphQL inputs may say null where they could say nothing: both mean the default. Returns a copy without null members. */
export function withoutNulls<T>(value: T): T {
  if (Array.isArray(value)) return value.map((member) => withoutNulls<unknown>(member)) as T;
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
  const members = Object.entries(value).filter(([, member]) => member !== null && member !== undefined);
  return Object.fromEntries(members.map(([key, member]) => [key, withoutNulls<unknown>(member)])) as T;
}
