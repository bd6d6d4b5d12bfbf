use std::time::Duration;

use lambda_runtime::Context as LambdaContext;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::response;

const EVENT: &str = r#"{
    "version": "2.0",
    "routeKey": "GET /api/chat/stream",
    "rawPath": "/api/chat/stream",
    "rawQueryString": "",
    "headers": {"host": "api.example.com"},
    "requestContext": {
        "apiId": "api",
        "domainName": "api.example.com",
        "http": {"method": "GET", "path": "/api/chat/stream", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
        "requestId": "id",
        "routeKey": "GET /api/chat/stream",
        "stage": "$default",
        "time": "12/Mar/2026:19:03:58 +0000",
        "timeEpoch": 1773342238000
    },
    "isBase64Encoded": false
}"#;

async fn lambda() -> (TcpListener, Arc<PooledClient>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let client = client().with_endpoint(url.parse().unwrap());
    (listener, Arc::new(client.build()))
}

fn invocation(event: &str) -> LambdaInvocation {
    let mut next = lambda_http::http::Response::new(());
    next.headers_mut()
        .insert(INVOCATION_ID, HeaderValue::from_static("again"));
    let mut context = LambdaContext::default();
    context.request_id = "first".into();
    LambdaInvocation {
        parts: next.into_parts().0,
        body: Bytes::copy_from_slice(event.as_bytes()),
        context,
    }
}

/// Answers one invocation with what `handler` says.
fn answering<F>(
    client: Arc<PooledClient>,
    event: &str,
    handler: impl Fn(lambda_http::Request) -> F + Clone + Send + 'static,
) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>
where
    F: Future<Output = Result<Response, Error>> + Send + 'static,
{
    let adapter = StreamAdapter::from(service_fn(handler));
    Posting { adapter, client }.call(invocation(event))
}

/// Reads until what came ends so.
async fn read_until(connection: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let mut piece = [0; 1024];
        let length = connection.read(&mut piece).await.unwrap();
        assert!(length > 0, "it ended at {:?}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&piece[..length]);
    }
    String::from_utf8(read).unwrap()
}

async fn accept(connection: &mut TcpStream) {
    let accepted = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
    connection.write_all(accepted).await.unwrap();
}

/// Nothing but this option keeps the kernel from holding small writes back, and only this end of a connection knows it.
#[tokio::test]
async fn responses_go_by_connections_that_hold_nothing_back() {
    let (listener, _) = lambda().await;
    let url = format!("http://{}", listener.local_addr().unwrap());
    let connection = connector().call(url.parse().unwrap()).await.unwrap();
    assert!(connection.into_inner().nodelay().unwrap());
}

#[tokio::test]
async fn each_piece_is_posted_as_soon_as_it_is_there() {
    let (listener, client) = lambda().await;
    let (pieces, coming) = mpsc::unbounded_channel::<&'static str>();
    let coming = std::sync::Mutex::new(Some(coming));
    let coming = Arc::new(coming);
    let answering = tokio::spawn(answering(client, EVENT, move |_| {
        let coming = coming.lock().unwrap().take().unwrap();
        let pieces = stream::unfold(coming, async |mut coming| {
            let piece = Frame::data(Bytes::from(coming.recv().await?));
            Some((Ok::<_, Infallible>(piece), coming))
        });
        let response = Response::new(StreamBody::new(pieces).boxed_unsync());
        ready(Ok(response))
    }));
    let (mut connection, _) = listener.accept().await.unwrap();
    let head = read_until(&mut connection, "\0\0\0\0\0\0\0\0\r\n").await;
    for line in [
        "POST /2018-06-01/runtime/invocation/first/response HTTP/1.1\r\n",
        "lambda-runtime-invocation-id: again\r\n",
        "lambda-runtime-function-response-mode: streaming\r\n",
        "content-type: application/vnd.awslambda.http-integration-response\r\n",
        "transfer-encoding: chunked\r\n",
        "{\"statusCode\":200,\"headers\":{\"content-type\":\"application/octet-stream\"},\"cookies\":[]}\r\n8\r\n\0",
    ] {
        assert!(head.contains(line), "{line} is not in {head}");
    }
    for piece in ["one", "two"] {
        pieces.send(piece).unwrap();
        let chunk = format!("3\r\n{piece}\r\n");
        assert_eq!(read_until(&mut connection, &chunk).await, chunk);
    }
    drop(pieces);
    read_until(&mut connection, "0\r\n\r\n").await;
    accept(&mut connection).await;
    answering.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_handler_is_asked_what_the_event_says() {
    let (listener, client) = lambda().await;
    let answering = tokio::spawn(answering(client, EVENT, |request| {
        let said = (request.method().as_str(), request.uri().path());
        ready(Ok(response::ok(&said).unwrap()))
    }));
    let (mut connection, _) = listener.accept().await.unwrap();
    let posted = read_until(&mut connection, "0\r\n\r\n").await;
    assert!(posted.contains(r#"["GET","/api/chat/stream"]"#), "{posted}");
    accept(&mut connection).await;
    answering.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_has_no_response_is_told_as_an_error() {
    for (event, handler, kind) in [
        (EVENT, (|| panic!("a bug")) as fn() -> Result<Response, Error>, "Panic"),
        ("{", || Ok(response::no_content()), "InvalidEvent"),
    ] {
        let (listener, client) = lambda().await;
        let answering = tokio::spawn(answering(client, event, move |_| async move { handler() }));
        let (mut connection, _) = listener.accept().await.unwrap();
        let posted = read_until(&mut connection, "}").await;
        assert!(
            posted.starts_with("POST /2018-06-01/runtime/invocation/first/error HTTP/1.1\r\n"),
            "{posted}"
        );
        assert!(posted.contains(&format!(r#""errorType":"{kind}""#)), "{posted}");
        accept(&mut connection).await;
        answering.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_refused_response_does_not_end_the_process() {
    let (listener, client) = lambda().await;
    let answering = tokio::spawn(answering(client, EVENT, |_| ready(Ok(response::no_content()))));
    let (mut connection, _) = listener.accept().await.unwrap();
    read_until(&mut connection, "0\r\n\r\n").await;
    let refusal = b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n";
    connection.write_all(refusal).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), answering)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}
