//! `PUT` and `DELETE /api/people/{userId}/block`: said twice, it is one block or none.

use lambda_http::http::Method;
use shared::app::App;
use shared::domain::rate::RateClass;
use shared::error::{Error, FieldError};
use shared::http::{Request, Response, Result, no_content};

pub async fn handle(app: App, request: Request) -> Result<Response> {
    let caller = request.caller(&app, RateClass::Write).await?;
    let other = request.user_id()?;
    if request.method() == Method::DELETE {
        app.store.unblock(&caller.id, &other).await?;
        return Ok(no_content());
    }
    if other == caller.id {
        let oneself = FieldError::parameter("userId", "must be somebody else");
        return Err(Error::Invalid(vec![oneself]));
    }
    app.store.meet(&caller).await?;
    if app.store.block(&caller.id, &other).await? {
        Ok(no_content())
    } else {
        Err(Error::NotFound("person"))
    }
}
