//! What agents tell people of their tasks: `POST /api/chat-messages`, `GET /api/chat-messages/{taskId}`.

mod draft;
pub mod of_task;
pub mod send;
mod tell;

pub(crate) use draft::draft;
pub(crate) use tell::tell;
