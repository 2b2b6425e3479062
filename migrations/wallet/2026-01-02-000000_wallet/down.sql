drop table top_ups;
drop table transfers;
drop table payments;
drop table wallets;
drop table accounts;
drop function transfers_are_append_only;
drop function transfer_accounts_share_a_currency;
drop function payment_moves_forward_only;
