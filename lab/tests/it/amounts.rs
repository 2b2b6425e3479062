//! Amounts are strings in every JSON: a number may be rounded by whoever reads it.

use serde_json::Value;

use crate::running::Up;

#[tokio::test(flavor = "multi_thread")]
async fn every_amount_in_every_json_is_a_string() {
    let up = Up::on_given_servers().await;
    let payment = up.pays().await;
    let stack = up.stack().await;
    let base = |name: &str| stack[name].as_str().unwrap().to_owned();
    let (wallet_api, bill_payer) = (base("wallet_api"), base("bill_payer"));
    let (provider, lab) = (base("mock_provider"), up.lab.clone());
    let paid = json(&up, &format!("{wallet_api}/payments/{payment}")).await;
    let wallet = paid["wallet_id"].as_str().unwrap();

    let mut urls = vec![
        format!("{wallet_api}/payments/{payment}"),
        format!("{wallet_api}/wallets/{wallet}"),
        format!("{wallet_api}/wallets/{wallet}/payments"),
        format!("{wallet_api}/wallets/{wallet}/transfers"),
        format!("{bill_payer}/bills"),
        format!("{bill_payer}/bills/{payment}"),
        format!("{provider}/payments"),
        format!("{provider}/payments/{payment}"),
        format!("{lab}/api/trace/{payment}"),
    ];
    let tables = json(&up, &format!("{lab}/api/tables")).await;
    let tables = tables["tables"].as_array().unwrap().iter();
    urls.extend(
        tables.map(|table| format!("{lab}/api/tables/{}", table["name"].as_str().unwrap())),
    );

    let mut seen = 0;
    for url in urls {
        let body = json(&up, &url).await;
        let amounts = amounts(&body);
        let wrong = amounts
            .iter()
            .find(|value| !value.is_string() && !value.is_null());
        assert_eq!(wrong, None, "{url}: {body}");
        let needs_one = ["/payments", "/wallets", "/bills", "/trace", "/transfers"];
        let is_about_money = needs_one.iter().any(|part| url.contains(part));
        assert!(!amounts.is_empty() || !is_about_money, "{url}: {body}");
        seen += amounts.len();
    }
    assert!(seen > 20, "{seen} amounts were seen");
}

async fn json(up: &Up, url: &str) -> Value {
    let answer = up.client.get(url).send().await.unwrap();
    assert!(answer.status().is_success(), "{url}: {answer:?}");
    answer.json().await.unwrap()
}

/// The values of all fields that hold money, and the cells of all columns that do.
fn amounts(value: &Value) -> Vec<&Value> {
    match value {
        Value::Object(fields) => {
            let own = fields
                .iter()
                .filter(|(name, _)| name.contains("amount") || name.contains("balance"));
            let below = fields.values().flat_map(amounts);
            own.map(|(_, amount)| amount)
                .chain(below)
                .chain(cells(value))
                .collect()
        }
        Value::Array(values) => values.iter().flat_map(amounts).collect(),
        _ => Vec::new(),
    }
}

/// Of a page of rows.
fn cells(page: &Value) -> Vec<&Value> {
    let (Some(columns), Some(rows)) = (page["columns"].as_array(), page["rows"].as_array()) else {
        return Vec::new();
    };
    let places = (0..columns.len()).filter(|place| columns[*place]["kind"] == "amount");
    places
        .flat_map(|place| rows.iter().map(move |row| &row[place]))
        .collect()
}
