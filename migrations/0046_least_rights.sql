-- What no statement of a person's does, their role cannot do, whatever such a statement forgets: messages keep their place
-- when they are deleted, answers stay, people are erased by the system alone, and inboxes are written by `tell`.
revoke delete on messages, replies, people, inbox_heads, inbox from backtalk_app;
revoke insert, update on inbox from backtalk_app;

create policy chats_deleted_by_their_owner on chats as restrictive for delete to backtalk_app
    using (owner_id = (select caller()));
