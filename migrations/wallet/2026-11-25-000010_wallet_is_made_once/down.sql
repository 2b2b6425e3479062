drop table wallet_keys;
