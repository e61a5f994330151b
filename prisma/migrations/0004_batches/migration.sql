-- Batches and their items.
create table "batch" (
    "id" uuid not null,
    "tenant_id" uuid not null,
    "user_id" uuid not null,
    "api_key_id" uuid not null,
    "pool" text not null,
    "preset" text not null,
    "settings" jsonb not null,
    "total" integer not null,
    "credits" bigint not null,
    "created_at" timestamptz(3) not null default current_timestamp,
    "accepted_at" timestamptz(3),
    "next_index" integer not null default 0,
    "succeeded" integer not null default 0,
    "failed" integer not null default 0,
    "canceled" integer not null default 0,
    "cancel_requested_at" timestamptz(3),
    "finished_at" timestamptz(3),

    constraint "batch_pkey" primary key ("id"),
    constraint "batch_tenant_id_fkey" foreign key ("tenant_id") references "tenant"("id") on delete restrict on update cascade
);
create index "batch_tenant_id_id_idx" on "batch" ("tenant_id", "id" desc);
create index "batch_tenant_id_user_id_id_idx" on "batch" ("tenant_id", "user_id", "id" desc);
create table "batch_item" (
    "batch_id" uuid not null,
    "index" integer not null,
    "custom_id" text not null,
    "settings" jsonb not null,
    "credits" bigint not null,

    constraint "batch_item_pkey" primary key ("batch_id", "index"),
    constraint "batch_item_batch_id_fkey" foreign key ("batch_id") references "batch"("id") on delete cascade on update cascade
);

-- A generation may be that of an item.
alter table "generation"
    add column "batch_id" uuid,
    add column "batch_index" integer,
    add constraint "generation_batch_id_fkey" foreign key ("batch_id") references "batch"("id") on delete restrict on update cascade;

-- A reservation may be a batch's. Those that exist have the ids of their generations.
alter table "reservation" add column "id" uuid, add column "batch_id" uuid;
update "reservation" set "id" = "generation_id";
alter table "reservation"
    drop constraint "reservation_pkey",
    alter column "id" set not null,
    alter column "generation_id" drop not null,
    add constraint "reservation_pkey" primary key ("id"),
    add constraint "reservation_batch_id_fkey" foreign key ("batch_id") references "batch"("id") on delete restrict on update cascade;
create unique index "reservation_generation_id_key" on "reservation" ("generation_id");
alter table "ledger_entry" add column "batch_id" uuid;

alter table "idempotency_record" rename column "generation_id" to "created_id";

-- Each item is queued once, whatever a query does.
create unique index "generation_batch_item_idx" on "generation" ("batch_id", "batch_index") where "batch_id" is not null;

-- What of a batch is queued or running.
create index "generation_batch_open_idx" on "generation" ("batch_id", "state") where "batch_id" is not null and "state" in ('QUEUED', 'RUNNING');

-- Each reservation is for something, and the waiting items of a batch have one.
alter table "reservation" add constraint "reservation_has_subject" check ("generation_id" is not null or "batch_id" is not null);
create unique index "reservation_waiting_idx" on "reservation" ("batch_id") where "generation_id" is null;

-- What a batch was charged.
create index "reservation_batch_idx" on "reservation" ("batch_id") where "batch_id" is not null;

-- What the feeder looks for: batches that are not through.
create index "batch_open_idx" on "batch" ("id") where "finished_at" is null;

-- Never more ends than items.
alter table "batch" add constraint "batch_ends_within" check ("succeeded" + "failed" + "canceled" <= "total" and "next_index" <= "total");
