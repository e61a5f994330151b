-- Editing pictures, and answering questions about them.
alter type "task_kind" add value 'IMAGE_EDIT';
alter type "task_kind" add value 'IMAGE_TO_TEXT';
alter table "generation" add column "answer" text;
