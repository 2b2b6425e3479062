drop index wallets_of_owner;
alter table wallets drop column owner;
