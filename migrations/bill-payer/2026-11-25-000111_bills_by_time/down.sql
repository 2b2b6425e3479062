drop index bills_by_time;
