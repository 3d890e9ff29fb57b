//! `strftime_now` of templates: the date that a caller gives, never a clock.

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
// 1970 began on a Thursday.
const DAYS: [&str; 7] =
    ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const SECONDS_A_DAY: i64 = 86_400;

/// `format` with Python's `%` codes filled in for `unix_s` seconds after 1970, UTC, English.
/// A code that is not known stays as it is.
pub fn strftime(format: &str, unix_s: i64) -> String {
    // Years of four digits only: 0001 to 9999.
    let unix_s = unix_s.clamp(-62_135_596_800, 253_402_300_799);
    let days = unix_s.div_euclid(SECONDS_A_DAY);
    let second = unix_s.rem_euclid(SECONDS_A_DAY);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let month_name = MONTHS[(month - 1) as usize];
    let day_name = DAYS[days.rem_euclid(7) as usize];
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('Y') => out.push_str(&format!("{year:04}")),
            Some('y') => out.push_str(&format!("{:02}", year % 100)),
            Some('m') => out.push_str(&format!("{month:02}")),
            Some('d') => out.push_str(&format!("{day:02}")),
            Some('B') => out.push_str(month_name),
            Some('b') => out.push_str(&month_name[..3]),
            Some('A') => out.push_str(day_name),
            Some('a') => out.push_str(&day_name[..3]),
            Some('H') => out.push_str(&format!("{hour:02}")),
            Some('I') => out.push_str(&format!("{:02}", (hour + 11) % 12 + 1)),
            Some('M') => out.push_str(&format!("{minute:02}")),
            Some('S') => out.push_str(&format!("{second:02}")),
            Some('p') => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            Some('%') => out.push('%'),
            Some(other) => out.extend(['%', other]),
            None => out.push('%'),
        }
    }
    out
}

/// Year, month and day of a day after 1970 began (Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    // Years begin in March, so that the leap day is the last; eras have 400 years.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::strftime;

    #[test]
    fn dates_are_pythons() {
        let all = "%Y-%m-%d %B %b %A %a %H:%M:%S %I %p %y %% %q";
        for (unix_s, expected) in [
            (0, "1970-01-01 January Jan Thursday Thu 00:00:00 12 AM 70 % %q"),
            (951_825_599, "2000-02-29 February Feb Tuesday Tue 11:59:59 11 AM 00 % %q"),
            (-1, "1969-12-31 December Dec Wednesday Wed 23:59:59 11 PM 69 % %q"),
        ] {
            assert_eq!(strftime(all, unix_s), expected);
        }
        strftime(all, i64::MIN);
        strftime(all, i64::MAX);
    }
}
