-- Files that members bring.
create type "upload_purpose" as enum ('PICTURE', 'BATCH');
create type "upload_status" as enum ('WAITING', 'READY', 'EXPIRED');
create table "upload" (
    "id" uuid not null,
    "tenant_id" uuid not null,
    "user_id" uuid not null,
    "purpose" "upload_purpose" not null,
    "status" "upload_status" not null default 'WAITING',
    "storage_key" text,
    "size_bytes" integer,
    "sha256" text,
    "width" integer,
    "height" integer,
    "brightest" integer,
    "created_at" timestamptz(3) not null default current_timestamp,
    "expires_at" timestamptz(3),

    constraint "upload_pkey" primary key ("id"),
    constraint "upload_tenant_id_fkey" foreign key ("tenant_id") references "tenant"("id") on delete restrict on update cascade
);

-- What is ready has its bytes, and what waits does not wait for ever.
alter table "upload" add constraint "upload_ready_has_file"
    check ("status" <> 'READY' or ("storage_key" is not null and "sha256" is not null and "size_bytes" is not null));
alter table "upload" add constraint "upload_waiting_expires" check ("status" = 'READY' or "expires_at" is not null);

-- What the expiry looks for.
create index "upload_expiry_idx" on "upload" ("expires_at") where "expires_at" is not null;
