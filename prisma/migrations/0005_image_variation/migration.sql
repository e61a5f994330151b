-- Pictures like a given one.
alter type "task_kind" add value 'IMAGE_VARIATION';
