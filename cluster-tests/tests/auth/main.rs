//! Users and roles from outside: etcd's answers line by line, stock etcdctl and conclavectl, tokens across members and failures.

mod observed;
mod programs;
