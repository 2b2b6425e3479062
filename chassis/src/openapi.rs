//! A service's routes as an OpenAPI document, and the page that shows it.
//!
//! A handler documents what is its own: what it takes, and what it returns when all is well. [`complete`] adds what it shares
//! with other handlers, so that no attribute repeats it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::{Router, middleware};
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

/// A response that routes share: the status, its name in the document, and when it comes.
type Shared = (&'static str, &'static str, &'static str);

/// What any route may respond.
const OF_ALL: &[Shared] = &[
    (
        "400",
        "BadRequest",
        "A part of the request is malformed; `type` says which.",
    ),
    (
        "401",
        "Unauthorized",
        "`no-token`, `bad-token`: only where the service asks for tokens.",
    ),
    (
        "403",
        "Forbidden",
        "`scope-missing`: the token does not allow this. `cross-origin`: a browser sent the request from the page of another site.",
    ),
    (
        "421",
        "WrongHost",
        "`wrong-host`: the service does not respond under this name.",
    ),
    (
        "429",
        "TooManyRequests",
        "`too-many-requests`: nothing was done.",
    ),
    (
        "500",
        "InternalError",
        "`internal`: a defect; the log has its cause.",
    ),
    (
        "503",
        "Unavailable",
        "`unavailable`, `too-many-connections`: send the same request again.",
    ),
];

/// What a route with an id in its path may respond besides.
const OF_AN_ID: &[Shared] = &[(
    "404",
    "NotFound",
    "`not-found`: there is no such thing, or it is not the caller's.",
)];

/// What a route that takes a body may respond besides.
const OF_A_BODY: &[Shared] = &[
    (
        "408",
        "BodyTimeout",
        "`body-timeout`: the body did not arrive in time.",
    ),
    (
        "413",
        "BodyTooLarge",
        "`body-too-large`: a body has at most 16 KiB.",
    ),
    (
        "415",
        "UnsupportedMediaType",
        "`unsupported-media-type`: the body is not `application/json`, or it is compressed.",
    ),
    (
        "422",
        "InvalidRequest",
        "`invalid-request`: `field` has a value that is not allowed. Another `type` says what else is not allowed. Nothing was done.",
    ),
    (
        "501",
        "UnsupportedTransferCoding",
        "`unsupported-transfer-coding`: the service takes `chunked` only.",
    ),
];

/// A sum of money, at the scale of its currency.
#[derive(ToSchema)]
#[schema(pattern = r"^[0-9]+(\.[0-9]+)?$", example = "499.00")]
#[expect(dead_code, reason = "only the schema is used")]
pub struct Sum(String);

/// A code of ISO 4217.
#[derive(ToSchema)]
#[schema(pattern = "^[A-Z]{3}$", example = "INR")]
#[expect(dead_code, reason = "only the schema is used")]
pub struct CurrencyCode(String);

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
    /// The `next_before` of the previous page.
    before: Option<C>,
}

const TOKEN: &str = "token";

/// Completes the `document` of routes for `audience`. `own` says of a status when else the service responds so.
#[must_use]
pub fn complete(mut document: OpenApi, audience: Audience, own: &[(&str, &str)]) -> OpenApi {
    let components = document.components.get_or_insert_default();
    let problem = (Problem::name().into_owned(), Problem::schema());
    components.schemas.extend([problem]);
    for &(status, name, when) in [OF_ALL, OF_AN_ID, OF_A_BODY].into_iter().flatten() {
        let own = own.iter().filter(|(of, _)| *of == status);
        let when = std::iter::once(when).chain(own.map(|(_, when)| *when));
        let response = problem_response(status, when.collect::<Vec<_>>().join(" "));
        let response = (name.to_owned(), RefOr::T(response));
        components.responses.extend([response]);
    }
    let mut token = Http::new(HttpAuthScheme::Bearer);
    token.description =
        Some("Where `ACCESS=anyone` is set, or the service listens on loopback only, it may ask for no token.".to_owned());
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
    for (status, name, _) in tables.into_iter().flatten().flatten() {
        let responses = &mut operation.responses.responses;
        let response = responses.entry((*status).to_owned());
        response.or_insert_with(|| Ref::from_response_name(*name).into());
    }
    let token = SecurityRequirement::new(TOKEN, [scope.to_string()]);
    operation.security = Some(vec![token, SecurityRequirement::default()]);
}

fn problem_response(status: &str, when: String) -> Response {
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
    let page = SwaggerUi::new("/docs")
        .url("/openapi.json", document)
        .config(config);
    Router::from(page).layer(middleware::map_response(protect))
}

/// The page can send requests: in a frame of another site, a click of a person would send one unawares.
async fn protect(mut response: axum::response::Response) -> axum::response::Response {
    if response.status() == StatusCode::NOT_FOUND {
        response = Problem::not_found("file of this name in", "/docs").into_response();
    }
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, "frame-ancestors 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
