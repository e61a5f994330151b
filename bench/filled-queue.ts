/** A database with a queue of a pool, for benches: of so many generations and tenants. */
import pg from "pg";
import { NIL } from "uuid";
import { DRAWING } from "../test/support/drawing-settings.ts";

/** Queued, and of how many tenants. */
export const QUEUES: readonly (readonly [number, number])[] = [
  [100, 10],
  [10_000, 10],
  [10_000, 1000],
  [10_000, 10_000],
  [1_000_000, 10],
  [1_000_000, 1000],
  [1_000_000, 10_000],
];

const SETTINGS = { ...DRAWING, prompt: "a red circle" };

/** As much of each tenant as of the others, all along the queue; as the owner of the tables, who may also analyze them. */
export async function fillQueue(url: string, queued: number, tenants: number): Promise<void> {
  const owner = new pg.Client({ connectionString: url });
  await owner.connect();
  await owner.query("begin");
  await owner.query("set local role atelier_platform");
  await owner.query(
    "insert into tenant (id, name) select gen_random_uuid(), 'bench' from generate_series(1, $1::int)",
    [tenants],
  );
  await owner.query("insert into user_account (id, name) select id, 'bench' from tenant");
  await owner.query("insert into membership (tenant_id, user_id, role) select id, id, 'MEMBER' from tenant");
  await owner.query(`insert into limits (tenant_id, level, subject_id, kind, max, held)
    select id, level::limit_level, id, kind::limit_kind, 1000000, case kind when 'QUEUED' then 500000 else 0 end from tenant
      cross join unnest(array['TENANT', 'MEMBER']) as level cross join unnest(array['RUNNING', 'QUEUED']) as kind`);
  await owner.query(`insert into fair_share_tag (pool, tenant_id, user_id, tag)
    select 'local', id, user_id, 0 from tenant cross join lateral (values (id), ('${NIL}'::uuid)) as of (user_id)`);
  await owner.query(
    `with of as (select id, row_number() over (order by id) - 1 as place from tenant)
    insert into generation (id, tenant_id, user_id, pool, preset, priority, task, settings, total_steps, milestone_seq, created_at)
    select gen_random_uuid(), of.id, of.id, 'local', 'tiny', 'STANDARD', 'TEXT_TO_IMAGE', $1::jsonb, 18, 1, now() - interval '1 day' + n * interval '1 millisecond'
    from generate_series(0, $2::int - 1) as n join of on of.place = n % $3::int`,
    [JSON.stringify(SETTINGS), queued, tenants],
  );
  await owner.query("commit");
  await owner.query("vacuum analyze");
  await owner.end();
}
