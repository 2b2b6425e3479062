//! A service's routes as an OpenAPI document, and the page that shows it.
//!
//! A handler documents what is its own: what it takes, and what it returns when all is well. [`complete`] adds what it shares
//! with other handlers, so that no attribute repeats it.

use axum::Router;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Content, HeaderBuilder, ObjectBuilder, OneOfBuilder, OpenApi, Ref, RefOr, Response,
    ResponseBuilder, Schema, Type,
};
use utoipa::{IntoParams, PartialSchema as _, ToSchema};
use utoipa_swagger_ui::{Config, SwaggerUi};
use uuid::Uuid;

use crate::Problem;
use crate::access::{Audience, Scope};

/// How any route may respond: the status, the name of the response in the document, and when.
const OF_ALL: &str = "\
400 BadRequest A part of the request is malformed; `type` says which.
401 Unauthorized `no-token`, `bad-token`: only where the service asks for tokens.
403 Forbidden `scope-missing`, `owner-adds-no-money`: the token does not allow this. `cross-origin`: a browser sent the \
request from the page of another site.
421 WrongHost `wrong-host`: the service does not go by this name.
429 TooManyRequests `too-many-requests`: nothing was done.
500 InternalError `internal`: a defect; the log has its cause.
503 Unavailable `unavailable`, `queue-full`, `too-many-connections`: send the same request again, with the same \
`Idempotency-Key`. `event-lost`: only in the pattern dual-write, which loses events.";

/// How a route with an id in its path may respond besides.
const OF_AN_ID: &str = "\
404 NotFound `unknown-wallet`, `not-found`: there is no such thing, or it is not the caller's.";

/// How a route that takes a body may respond besides.
const OF_A_BODY: &str = "\
408 BodyTimeout `body-timeout`: the body did not arrive in time.
413 BodyTooLarge `body-too-large`: a body has at most 16 KiB.
415 UnsupportedMediaType `unsupported-media-type`: the body is not `application/json`, or it is compressed.
422 InvalidRequest `invalid-request`: `field` has a value that is not allowed. Another `type` says what else is not allowed. \
Nothing was done.
501 UnsupportedTransferCoding `unsupported-transfer-coding`: the only one is `chunked`.";

/// The lines of such a table.
fn lines(table: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    table.lines().filter_map(|line| {
        let (status, rest) = line.split_once(' ')?;
        let (name, when) = rest.split_once(' ')?;
        Some((status, name, when))
    })
}

/// A sum of money, at the scale of its currency.
#[derive(ToSchema)]
#[schema(pattern = r"^[0-9]+(\.[0-9]+)?$", example = "499.00")]
#[expect(dead_code, reason = "only the schema is used")]
pub struct Sum(String);

/// A UUID.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only the schema is used")]
pub struct Id(Uuid);

/// The schema of an `Option<T>`, which utoipa does not get right where `T` is a parameter.
pub(crate) fn nullable<T: ToSchema>() -> Schema {
    let null = ObjectBuilder::new().schema_type(Type::Null);
    OneOfBuilder::new().item(T::schema()).item(null).into()
}

/// See [`PageQuery`](crate::http::PageQuery).
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only the schema is used")]
pub struct PageParams<C: ToSchema> {
    /// More than 500 counts as 500.
    #[param(minimum = 1, maximum = 65535, default = 50)]
    limit: Option<u16>,
    /// The `next_before` of the page before.
    before: Option<C>,
}

const TOKEN: &str = "token";

/// Completes the `document` of routes for `audience`.
#[must_use]
pub fn complete(mut document: OpenApi, audience: Audience) -> OpenApi {
    let components = document.components.get_or_insert_default();
    let problem = (Problem::name().into_owned(), Problem::schema());
    components.schemas.extend([problem]);
    for (status, name, when) in [OF_ALL, OF_AN_ID, OF_A_BODY].into_iter().flat_map(lines) {
        let response = RefOr::T(problem_response(status, when));
        components.responses.insert(name.to_owned(), response);
    }
    let mut token = Http::new(HttpAuthScheme::Bearer);
    token.description =
        Some("A service that listens on loopback only may ask for no token.".to_owned());
    let token = RefOr::T(SecurityScheme::Http(token));
    components.security_schemes.insert(TOKEN.to_owned(), token);
    for (path, item) in &mut document.paths.paths {
        let reads = item.get.as_mut().map(|it| (it, Scope::WalletsRead));
        let writes = item.post.as_mut().map(|it| (it, Scope::WalletsWrite));
        for (operation, scope) in reads.into_iter().chain(writes) {
            let scope = match audience {
                Audience::Customers => scope,
                Audience::Operators => Scope::Operate,
            };
            add_shared(operation, path, scope);
        }
    }
    document
}

/// Adds the responses that `operation` shares with others, and who may use it.
fn add_shared(operation: &mut Operation, path: &str, scope: Scope) {
    let of_an_id = path.contains('{').then_some(OF_AN_ID);
    let of_a_body = operation.request_body.as_ref().map(|_| OF_A_BODY);
    let tables = [Some(OF_ALL), of_an_id, of_a_body];
    for (status, name, _) in tables.into_iter().flatten().flat_map(lines) {
        let responses = &mut operation.responses.responses;
        let response = responses.entry(status.to_owned());
        response.or_insert_with(|| Ref::from_response_name(name).into());
    }
    let token = SecurityRequirement::new(TOKEN, [scope.to_string()]);
    operation.security = Some(vec![token, SecurityRequirement::default()]);
}

fn problem_response(status: &str, when: &str) -> Response {
    let problem = Content::new(Some(Ref::from_schema_name(Problem::name())));
    let response = ResponseBuilder::new()
        .description(when)
        .content("application/problem+json", problem);
    let (name, description) = match status {
        "401" | "403" => ("WWW-Authenticate", "What the token lacks."),
        "429" | "503" => ("Retry-After", "Seconds until the next try."),
        _ => return response.build(),
    };
    let header = HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .description(Some(description));
    response.header(name, header.build()).build()
}

/// `/openapi.json`, and `/docs`, a page that loads nothing from elsewhere.
pub fn routes(document: OpenApi) -> Router {
    // By default the page has a badge, for which it sends the document's address to a server on the internet.
    let config = Config::default().validator_url("none");
    SwaggerUi::new("/docs")
        .url("/openapi.json", document)
        .config(config)
        .into()
}
